package nodeagent

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// enforce labels the namespace of the test.
func (n *node) enforce(level string) {
	n.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.ns}}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level)
	if err := n.api.Patch(n.t.Context(), ns, client.RawPatch(types.MergePatchType, patch)); err != nil {
		n.t.Fatal(err)
	}
}

// waits returns what the only container of a MiniPod waits for.
func (n *node) waits(name string) string {
	n.t.Helper()
	pod := &miniv1.MiniPod{}
	if err := n.api.Get(n.t.Context(), types.NamespacedName{Namespace: n.ns, Name: name}, pod); err != nil {
		n.t.Fatal(err)
	}
	if waiting := pod.Status.ContainerStatuses[0].State.Waiting; waiting != nil {
		return waiting.Message
	}
	return ""
}

// A MiniPod that was bound in spite of its namespace's level (the test plays a scheduler that does not look) is not started, until
// the level allows it. One that runs is left alone.
func TestLevelOfTheNamespace(t *testing.T) {
	n := newNode(t, "level")
	n.run("before")
	n.shows("before", "Running")
	n.enforce("restricted")
	// The label and the MiniPod come by two watches; a MiniPod may be started by the level of the moment before.
	testenv.Eventually(t, func() string { n.run("refused"); return n.becomes("refused", miniv1.ReasonPodSecurityViolation) })
	if message := n.waits("refused"); !strings.Contains(message, `violates PodSecurity "restricted:latest"`) ||
		!strings.Contains(message, "must set securityContext.runAsNonRoot=true") {
		t.Error(message)
	}
	n.shows("before", "Running")
	n.enforce("baseline")
	n.shows("refused", "Running")
}

// becomes waits until a MiniPod has a summary that is not ContainerCreating. If it is another than the wanted one, the MiniPod is
// deleted, to be tried again.
func (n *node) becomes(name, want string) string {
	n.t.Helper()
	pod := &miniv1.MiniPod{}
	testenv.Eventually(n.t, func() string {
		if err := n.api.Get(n.t.Context(), types.NamespacedName{Namespace: n.ns, Name: name}, pod); err != nil {
			return err.Error()
		}
		if pod.Status.Summary == "ContainerCreating" {
			return "it is still being started"
		}
		return ""
	})
	if pod.Status.Summary == want {
		return ""
	}
	if err := n.api.Delete(n.t.Context(), builders.Pod(n.ns, name).Obj()); err != nil {
		n.t.Fatal(err)
	}
	n.gone(name)
	return fmt.Sprintf("%s shows %s, want %s", name, pod.Status.Summary, want)
}

// An agent that may not read namespaces starts nothing and says why. It still takes care of what runs, and removes what is deleted.
func TestNamespacesCannotBeRead(t *testing.T) {
	n := newNode(t, "blind")
	n.run("before")
	n.shows("before", "Running")
	n.stop()
	n.deny("/api/v1/namespaces")
	n.runtime.ResetCalls()
	n.start()
	n.run("new")
	n.shows("new", miniv1.ReasonPodSecurityUnknown)
	if message := n.waits("new"); !strings.Contains(message, "may get, list and watch namespaces") {
		t.Error(message)
	}
	if calls := n.runtime.Calls(fake.OpCreate, fake.OpStart, fake.OpPull, fake.OpImage); len(calls) > 0 {
		t.Errorf("calls %v", calls)
	}
	n.shows("before", "Running")
	if err := n.api.Delete(t.Context(), builders.Pod(n.ns, "before").Obj()); err != nil {
		t.Fatal(err)
	}
	n.gone("before")
	n.deny("")
	n.shows("new", "Running")
}
