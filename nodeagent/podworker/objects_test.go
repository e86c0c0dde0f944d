package podworker

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

var yes = true

// someObjects are a ConfigMap "settings" and a Secret "keys".
func someObjects() volumes.Objects {
	return volumes.Objects{
		ConfigMaps: map[string]*corev1.ConfigMap{"settings": {Data: map[string]string{"COLOUR": "blue", "size": "7", "from.file": "x"}}},
		Secrets:    map[string]*corev1.Secret{"keys": {Data: map[string][]byte{"PASSWORD": []byte("p$(COLOUR)"), "size": []byte("8")}}},
	}
}

func fromConfigMap(name, key string, optional *bool) *miniv1.EnvVarSource {
	return &miniv1.EnvVarSource{ConfigMapKeyRef: &miniv1.ConfigMapKeySelector{Name: name, Key: key, Optional: optional}}
}

func fromSecret(name, key string, optional *bool) *miniv1.EnvVarSource {
	return &miniv1.EnvVarSource{SecretKeyRef: &miniv1.SecretKeySelector{Name: name, Key: key, Optional: optional}}
}

// Variables come in the order of a native Pod: envFrom, of which the last wins, then env, which goes before it; and references see all
// that stand above.
func TestEnvironmentFromObjects(t *testing.T) {
	pod := testPod().Requests("250m", "64Mi").Limits("", "128Mi").With(func(p *miniv1.MiniPod) {
		p.Labels, p.Annotations = map[string]string{"app.kubernetes.io/version": "1.2"}, map[string]string{"team": "blue"}
		c := &p.Spec.Containers[0]
		c.EnvFrom = []miniv1.EnvFromSource{
			{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "settings"}},
			{Prefix: "K_", SecretRef: &miniv1.SecretEnvSource{Name: "keys"}},
			{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "none", Optional: &yes}},
		}
		amount := func(name, divisor string) *miniv1.EnvVarSource {
			ref := &miniv1.ResourceFieldSelector{Resource: name}
			if divisor != "" {
				ref.Divisor = resource.MustParse(divisor)
			}
			return &miniv1.EnvVarSource{ResourceFieldRef: ref}
		}
		path := func(path string) *miniv1.EnvVarSource {
			return &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}
		}
		c.Env = []miniv1.EnvVar{
			{Name: "size", Value: "9"},
			{Name: "A", ValueFrom: fromConfigMap("settings", "COLOUR", nil)},
			{Name: "B", Value: "$(A)-$(COLOUR)-$(size)-$(K_size)"},
			{Name: "C", ValueFrom: fromSecret("keys", "PASSWORD", nil)},
			{Name: "D", ValueFrom: fromSecret("keys", "none", &yes)},
			{Name: "E", ValueFrom: fromConfigMap("none", "none", &yes)},
			{Name: "L", ValueFrom: path("metadata.labels['app.kubernetes.io/version']")},
			{Name: "T", ValueFrom: path("metadata.annotations['team']")},
			{Name: "N", ValueFrom: path("metadata.labels['none']")},
			{Name: "IPS", ValueFrom: path("status.podIPs")}, {Name: "HOSTS", ValueFrom: path("status.hostIPs")},
			{Name: "API", Value: "$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"},
			{Name: "CPU", ValueFrom: amount("requests.cpu", "")}, {Name: "MILLI", ValueFrom: amount("requests.cpu", "1m")},
			{Name: "MEM", ValueFrom: amount("limits.memory", "")}, {Name: "MI", ValueFrom: amount("requests.memory", "10Mi")},
			{Name: "ALL", ValueFrom: amount("limits.cpu", "")},
		}
	}).Obj()
	facts := Facts{HostIP: "10.0.0.1", PodIP: "100.64.0.9", APIServer: "10.96.0.1:443", Node: resources.Amounts{MilliCPU: 3500, MemoryBytes: 1 << 30}}
	env, values, err := environment(pod, &pod.Spec.Containers[0], facts, someObjects())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443", "COLOUR=blue", "from.file=x", "size=7", "K_PASSWORD=p$(COLOUR)", "K_size=8", "size=9", "A=blue", "B=blue-blue-9-8", "C=p$(COLOUR)",
		"L=1.2", "T=blue", "N=", "IPS=100.64.0.9", "HOSTS=10.0.0.1", "API=10.96.0.1:443", "CPU=1", "MILLI=250", "MEM=134217728", "MI=7", "ALL=4"}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if values["size"] != "9" || values["K_PASSWORD"] != "p$(COLOUR)" {
		t.Errorf("values for the command: %v", values)
	}
}

// What is needed and not there is named.
func TestEnvironmentThatIsMissing(t *testing.T) {
	for want, change := range map[string]func(*miniv1.Container){
		`configmap "none" not found`: func(c *miniv1.Container) {
			c.Env = []miniv1.EnvVar{{Name: "A", ValueFrom: fromConfigMap("none", "k", nil)}}
		},
		`variable A: configmap "settings" has no key`: func(c *miniv1.Container) {
			c.Env = []miniv1.EnvVar{{Name: "A", ValueFrom: fromConfigMap("settings", "k", nil)}}
		},
		`secret "none" not found`: func(c *miniv1.Container) {
			c.Env = []miniv1.EnvVar{{Name: "A", ValueFrom: fromSecret("none", "k", nil)}}
		},
		`secret "keys" has no key "k"`: func(c *miniv1.Container) {
			c.Env = []miniv1.EnvVar{{Name: "A", ValueFrom: fromSecret("keys", "k", nil)}}
		},
		`secret "gone" not found`: func(c *miniv1.Container) {
			c.EnvFrom = []miniv1.EnvFromSource{{SecretRef: &miniv1.SecretEnvSource{Name: "gone"}}}
		},
		`configmap "gone" not found`: func(c *miniv1.Container) {
			c.EnvFrom = []miniv1.EnvFromSource{{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "gone"}}}
		},
		`names nothing`: func(c *miniv1.Container) { c.Env = []miniv1.EnvVar{{Name: "A", ValueFrom: &miniv1.EnvVarSource{}}} },
		`there is no container "other"`: func(c *miniv1.Container) {
			c.Env = []miniv1.EnvVar{{Name: "A", ValueFrom: &miniv1.EnvVarSource{ResourceFieldRef: &miniv1.ResourceFieldSelector{ContainerName: "other", Resource: "limits.cpu"}}}}
		},
	} {
		pod := testPod().Obj()
		change(&pod.Spec.Containers[0])
		o := seen()
		o.objects = map[string]volumes.Objects{"main": someObjects()}
		_, _, err := (&Pool{Options: Options{Machine: testMachine}}).containerSpec(pod, &o, podplan.Action{Container: "main"})
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, runtime.ErrSettings) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What was read for containers whose image cannot be had is not kept: there may be as many of them as MiniPods, each with a MiB.
func TestWhatWasReadInVain(t *testing.T) {
	b := newBench(t)
	if err := b.api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "settings"}}); err != nil {
		t.Fatal(err)
	}
	pod := b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Image = "none:test"
		p.Spec.Containers[0].EnvFrom = []miniv1.EnvFromSource{{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "settings"}}}
	})
	b.shows("a", miniv1.ReasonErrImagePull)
	w := b.pool.worker(pod.UID)
	b.kill()
	if len(w.observed.objects) > 0 {
		t.Errorf("%v is kept", w.observed.objects)
	}
}
