package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// rights prints what the kernel lets the container do.
const rights = `id; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status;
touch /x 2>/dev/null || echo read-only; touch /etc/hosts 2>/dev/null || echo hosts too; echo end; sleep 1000`

// restricted meets the strictest level, and runs as a user of its own.
func restricted(p *miniv1.MiniPod) {
	p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsUser: new(int64(4321)), RunAsGroup: new(int64(55)), RunAsNonRoot: new(true),
		SupplementalGroups: []int64{66}, SeccompProfile: &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
		Capabilities: &miniv1.Capabilities{Drop: []miniv1.Capability{"ALL"}}}
}

// In a namespace of the level restricted, the real agent starts what meets the level, with no more rights than that, and makes
// nothing on the machine for what does not.
func TestPodSecurity(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("rooted", "sleep 1000", func(p *miniv1.MiniPod) {
		p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsNonRoot: new(true)}
	}))
	pod := e.shows("rooted", miniv1.ReasonCreateContainerConfig)
	if message := pod.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(message, "give a runAsUser that is not 0") {
		t.Errorf("message %q", message)
	}
	e.delete("rooted")
	e.gone("rooted")

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.namespace}}
	patch := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
	if err := e.api.Patch(t.Context(), ns, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
	e.term()
	e.start() // so that the label is not younger than what the agent knows
	e.run(e.sh("plain", "sleep 1000"))
	pod = e.shows("plain", miniv1.ReasonPodSecurityViolation)
	if message := pod.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(message, `violates PodSecurity "restricted:latest"`) {
		t.Errorf("message %q", message)
	}
	for _, what := range e.leftovers() {
		if strings.Contains(what, string(pod.UID)) {
			t.Errorf("there is a %s", what)
		}
	}
	e.run(e.sh("good", rights, restricted))
	good, log := e.shows("good", "Running"), ""
	e.until("the log", func() bool { log = e.logOf(good); return strings.Contains(log, "F end") })
	for _, want := range []string{"uid=4321 gid=55 groups=55,66", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1",
		"Seccomp:\t2", "F read-only", "F hosts too"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	for _, name := range []string{"plain", "good"} {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
}
