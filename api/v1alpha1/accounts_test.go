package v1alpha1

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The volume is, but for the name, the one that an API server gives a native Pod.
const nativeVolume = `
name: kube-api-access-token
projected:
  defaultMode: 420
  sources:
  - serviceAccountToken: {expirationSeconds: 3607, path: token}
  - configMap: {items: [{key: ca.crt, path: ca.crt}], name: kube-root-ca.crt}
  - downwardAPI: {items: [{fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}, path: namespace}]}
`

func mounting(name string, mounts ...VolumeMount) Container {
	return Container{Name: name, VolumeMounts: mounts}
}

// Every container that has nothing there gets the directory, init containers and sidecars too, and whoever asks again gets the same.
func TestWithAPIAccess(t *testing.T) {
	var volume Volume
	if err := yaml.UnmarshalStrict([]byte(nativeVolume), &corev1.Volume{}); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(nativeVolume), &volume); err != nil {
		t.Fatal(err)
	}
	its := VolumeMount{Name: "kube-api-access-token", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}
	there := VolumeMount{Name: "own", MountPath: its.MountPath}
	exported := VolumeMount{Name: "kube-api-access-x7k2p", MountPath: its.MountPath, ReadOnly: true}
	data := VolumeMount{Name: "own", MountPath: "/data"}
	own, exportedVolume := Volume{Name: "own", EmptyDir: &EmptyDirVolumeSource{}}, Volume{Name: exported.Name, Projected: &ProjectedVolumeSource{}}
	for name, c := range map[string]struct{ spec, want MiniPodSpec }{
		"a container": {MiniPodSpec{Containers: []Container{mounting("a")}},
			MiniPodSpec{Containers: []Container{mounting("a", its)}, Volumes: []Volume{volume}}},
		"containers of all kinds": {
			MiniPodSpec{InitContainers: []Container{mounting("i", data)}, Containers: []Container{mounting("a"), mounting("b", there)}, Volumes: []Volume{own}},
			MiniPodSpec{InitContainers: []Container{mounting("i", data, its)}, Containers: []Container{mounting("a", its), mounting("b", there)}, Volumes: []Volume{own, volume}}},
		"all have it": {MiniPodSpec{Containers: []Container{mounting("a", there)}, Volumes: []Volume{own}},
			MiniPodSpec{Containers: []Container{mounting("a", there)}, Volumes: []Volume{own}}},
		"one that came out of an API server, and another container": {
			MiniPodSpec{Containers: []Container{mounting("a", exported), mounting("b")}, Volumes: []Volume{exportedVolume}},
			MiniPodSpec{Containers: []Container{mounting("a", exported), mounting("b", exported)}, Volumes: []Volume{exportedVolume}}},
	} {
		yes := true
		c.spec.AutomountServiceAccountToken, c.want.AutomountServiceAccountToken = &yes, &yes
		pod := &MiniPod{Spec: c.spec}
		before := pod.DeepCopy()
		got := pod.WithAPIAccess()
		if diff := cmp.Diff(c.want, got.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(before, pod); diff != "" {
			t.Errorf("%s: what it was made of changed:\n%s", name, diff)
		}
		if got.WithAPIAccess() != got {
			t.Errorf("%s: it lacks something still", name)
		}
		if level := c.spec.Level(); level != SpecLevelAPIAccess {
			t.Errorf("%s: level %d", name, level)
		}
	}
	for _, mode := range []*bool{nil, new(false)} {
		pod := &MiniPod{Spec: MiniPodSpec{AutomountServiceAccountToken: mode, Containers: []Container{mounting("a")}}}
		if pod.WithAPIAccess() != pod || pod.Spec.Level() != 0 {
			t.Error("one that does not ask for it has it")
		}
	}
}

func TestPullSecrets(t *testing.T) {
	mine, its := []LocalObjectReference{{Name: "mine"}}, []LocalObjectReference{{Name: "its"}}
	for _, c := range []struct{ spec, status, want []LocalObjectReference }{{mine, nil, mine}, {nil, its, its}, {mine, its, mine}, {nil, nil, nil}} {
		pod := &MiniPod{Spec: MiniPodSpec{ImagePullSecrets: c.spec}, Status: MiniPodStatus{ImagePullSecrets: c.status}}
		if got := pod.PullSecrets(); !slices.Equal(got, c.want) {
			t.Errorf("spec %v, status %v: %v", c.spec, c.status, got)
		}
	}
}
