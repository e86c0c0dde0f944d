package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// daemonSet wants nodes with the label lane=yes. No controller acts on it here.
func (w world) daemonSet() *appsv1.DaemonSet {
	w.Helper()
	labels := map[string]string{"app": "agent"}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: "miniplane-agent"},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{NodeSelector: map[string]string{"lane": "yes"},
				Containers: []corev1.Container{{Name: "agent", Image: "agent:test"}}}}}}
	w.must(w.Create(w.Context(), set))
	w.Cleanup(func() { _ = w.Delete(context.Background(), set) })
	return set
}

func (w world) lane(name, value string) {
	w.Helper()
	w.must(w.Patch(w.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
		client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"labels":{"lane":%q}}}`, value))))
}

// member makes a node whose agent is the DaemonSet's, as long as the label is there.
func (w world) member(name string) *agent {
	w.Helper()
	a := w.node(name)
	w.lane(name, "yes")
	w.must(w.Status().Patch(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}},
		client.RawPatch("application/merge-patch+json", []byte(`{"status":{"daemonSet":"miniplane-system/miniplane-agent"}}`))))
	return a
}

// leaving is the reason of a MiniNode's condition Leaving, "" for none.
func (w world) leaving(name string) string {
	var now miniv1.MiniNode
	if err := w.Get(context.Background(), client.ObjectKey{Name: name}, &now); err != nil {
		return "gone"
	}
	if leaving := meta.FindStatusCondition(now.Status.Conditions, miniv1.ConditionLeaving); leaving != nil {
		return leaving.Reason
	}
	return ""
}

func (w world) leavingIs(name, want string) {
	w.Helper()
	w.eventually("Leaving of "+name, func() string { return w.leaving(name) }, want)
}

// letGo is what an agent does when it has ended a MiniPod.
func (w world) letGo(pod *miniv1.MiniPod) {
	w.Helper()
	w.must(w.Patch(w.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
}

// signOff is an agent's last word.
func (w world) signOff(name string, a *agent) {
	w.Helper()
	a.stop()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: name}}
	w.must(w.Patch(w.Context(), lease, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"holderIdentity":null}}`))))
	var mini miniv1.MiniNode
	w.must(w.Get(w.Context(), client.ObjectKey{Name: name}, &mini))
	before := mini.DeepCopy()
	conditions.Set(&mini.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: miniv1.ReasonAgentLeft})
	w.must(w.Status().Patch(w.Context(), &mini, client.MergeFrom(before)))
}

// A node that the DaemonSet no longer wants is emptied while its agent is there, and forgotten when that has left.
func TestNodeLeaves(t *testing.T) {
	w := newWorld(t)
	w.daemonSet()
	stop := w.manager()
	stays, goes := w.member("a"), w.member("b")
	elsewhere, one, two := w.pod("elsewhere", "a"), w.pod("one", "b"), w.pod("two", "b", func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Operator: corev1.TolerationOpExists}}
	})
	heard(t, stays, goes)

	w.lane("b", "no")
	w.leavingIs("b", miniv1.ReasonMovingMiniPods)
	w.untilTold("b", miniv1.ReasonMovingMiniPods, "no longer wants this node (its node selector or node affinity does not match")
	w.podIs(one, "Running ContainersReady disrupted deleting")
	w.podIs(two, "Running ContainersReady disrupted deleting")
	late := w.pod("late", "b") // bound in the last moment
	w.podIs(late, "Running ContainersReady disrupted deleting")
	w.letGo(one)
	w.letGo(two)
	w.letGo(late)

	stranded := w.pod("stranded", "b")
	w.signOff("b", goes)
	w.nodeIs("b", "gone")
	w.podIs(stranded, "gone")
	w.podIs(w.pod("after", "b"), "gone")
	stop()
	w.manager() // one that has not seen it leave
	w.podIs(w.pod("long-after", "b"), "gone")
	w.stays("MiniPod elsewhere", func() string { return w.state(elsewhere) + w.leaving("a") }, "Running ContainersReady", time.Second)

	// It comes back like a new one.
	w.lane("b", "yes")
	w.must(w.Create(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "b"}}))
	goes.on.Store(true)
	back := w.pod("back", "b")
	w.stays("MiniPod back", func() string { return w.state(back) }, "Running ContainersReady", grace+wait)
}

// Until the last moment it can be taken back, by the node or by the DaemonSet.
func TestLeavingIsTakenBack(t *testing.T) {
	w := newWorld(t)
	set := w.daemonSet()
	w.manager()
	heard(t, w.member("a"), w.member("b"))
	pod := w.pod("pod", "b")
	w.lane("b", "no")
	w.leavingIs("b", miniv1.ReasonMovingMiniPods)
	w.lane("b", "yes")
	w.leavingIs("b", "")
	w.untilTold("b", "Stays", "wants the node again")
	selector := func(lane string) {
		w.must(w.Patch(t.Context(), set, client.RawPatch("application/merge-patch+json",
			fmt.Appendf(nil, `{"spec":{"template":{"spec":{"nodeSelector":{"lane":%q}}}}}`, lane))))
	}
	w.lane("a", "both")
	w.lane("b", "yes")
	selector("both")
	w.leavingIs("b", miniv1.ReasonMovingMiniPods)
	selector("yes")
	w.leavingIs("b", "")
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", 6*time.Second)
}

// A selector that matches no node moves nothing; agents that ended all the same are told of, and so is a DaemonSet that is deleted:
// of that nothing is said.
func TestNobodyIsWantedAnyMore(t *testing.T) {
	w := newWorld(t)
	set := w.daemonSet()
	w.manager()
	a, b := w.member("a"), w.member("b")
	kubelet := w.kubelet("b")
	pod := w.pod("pod", "b")
	heard(t, a, b, kubelet)
	w.lane("a", "no")
	w.lane("b", "no")
	w.leavingIs("a", miniv1.ReasonHeldBack)
	w.leavingIs("b", miniv1.ReasonHeldBack)
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", 6*time.Second)
	b.on.Store(false)
	w.leavingIs("b", miniv1.ReasonLeftBehind)
	w.untilTold("b", miniv1.ReasonLeftBehind, "nobody ends what is left here")
	w.must(w.Delete(t.Context(), set))
	w.leavingIs("a", "")
	b.on.Store(true)
	w.leavingIs("b", "")
	w.podIs(pod, "Running ContainersReady")
}
