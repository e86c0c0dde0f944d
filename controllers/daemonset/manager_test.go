package daemonset_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/daemonset"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/testenv"
)

// startManager runs the controller with real caches and watches, and another that plays scheduler and agents at once.
func startManager(t *testing.T) {
	t.Helper()
	testenv.StartManager(t, func(mgr ctrl.Manager) error {
		if err := daemonset.Setup(mgr, daemonset.Options{}); err != nil {
			return err
		}
		return ctrl.NewControllerManagedBy(mgr).Named("node").For(&miniv1.MiniPod{}).Complete(agents(mgr.GetClient()))
	}, daemonset.ByObject())
}

func agents(c client.Client) reconcile.Func {
	return func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		pod := &miniv1.MiniPod{}
		if err := c.Get(ctx, req.NamespacedName, pod); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		before := pod.DeepCopy()
		if podstate.IsDeleting(pod) {
			pod.Finalizers = nil
			return ctrl.Result{}, client.IgnoreNotFound(c.Patch(ctx, pod, client.MergeFrom(before)))
		}
		if podstate.IsReady(pod) {
			return ctrl.Result{}, nil
		}
		pod.Status.NodeName, pod.Status.Phase = pod.Spec.NodeName, miniv1.PodRunning
		conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonContainersReady})
		return ctrl.Result{}, client.IgnoreNotFound(c.Status().Patch(ctx, pod, client.MergeFrom(before)))
	}
}

// eventually waits until that is there, and the status says that all is well.
func (w *world) eventually(set *miniv1.MiniDaemonSet, there string) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		w.read(set)
		if got := w.there(); got != there {
			return fmt.Sprintf("there is %q, want %q", got, there)
		}
		if set.Status.ObservedGeneration != set.Generation || condition(set, miniv1.ConditionReady) != "True/ReplicasReady" {
			return fmt.Sprintf("not ready: %+v", set.Status)
		}
		return ""
	})
}

// With real caches and watches: what nodes, people and MiniPods do wakes the set.
func TestManager(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	startManager(t)
	set := w.set("web")
	w.eventually(set, "a:v1 b:v1 c:v1")
	w.edit(set, image("v2"))
	w.eventually(set, "a:v2 b:v2 c:v2")
	w.edit(set, rolling(2, 0))
	w.edit(set, image("v3"))
	w.eventually(set, "a:v3 b:v3 c:v3")

	w.node("d")
	w.eventually(set, "a:v3 b:v3 c:v3 d:v3")
	w.patchNode("b", `{"metadata":{"labels":{"world":"another"}}}`)
	w.eventually(set, "a:v3 c:v3 d:v3")
	w.taint("c", corev1.TaintEffectNoExecute)
	w.eventually(set, "a:v3 d:v3")
	w.patchNode("c", `{"spec":{"taints":null}}`)
	w.eventually(set, "a:v3 c:v3 d:v3")
	w.must(w.Delete(t.Context(), w.pods()[0]))
	w.eventually(set, "a:v3 c:v3 d:v3")
	w.fail("a")
	w.eventually(set, "a:v3 c:v3 d:v3")

	last := w.revisions()[2]
	w.must(w.Delete(t.Context(), last))
	testenv.Eventually(t, func() string {
		if got := w.revisions(); len(got) != 3 || got[2].Name != last.Name || got[2].UID == last.UID {
			return fmt.Sprintf("%d revisions", len(got))
		}
		return ""
	})
}
