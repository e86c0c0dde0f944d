package eviction_test

import (
	"context"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/eviction"
	"miniplane.dev/miniplane/internal/conditions"
	decide "miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is an API server with one node, and the guard of an installation. Kubelets and agents are played by the tests.
type world struct {
	*testing.T
	client.Client
	ns string
}

const node = "n1"

var markerKey = client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: "miniplane-drain-" + node}

func newWorld(t *testing.T) world {
	t.Helper()
	_, c := testenv.Start(t)
	w := world{t, c, testenv.Namespace(t, c)}
	_ = c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: miniv1.SystemNamespace}})
	w.guard(true)
	w.must(c.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}))
	w.must(c.Create(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: node}}))
	t.Cleanup(w.clear)
	return w
}

// clear runs after the manager has ended.
func (w world) clear() {
	ctx := context.Background()
	_ = w.DeleteAllOf(ctx, &corev1.Node{})
	_ = w.DeleteAllOf(ctx, &miniv1.MiniNode{})
	_ = w.Delete(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: miniv1.UninstallGuard}})
	var pods miniv1.MiniPodList
	_ = w.List(ctx, &pods)
	for i := range pods.Items {
		pods.Items[i].Finalizers = nil
		_ = w.Update(ctx, &pods.Items[i])
		_ = w.Delete(ctx, &pods.Items[i])
	}
	var marker corev1.Pod
	if w.Get(ctx, markerKey, &marker) == nil {
		marker.Finalizers = nil
		_ = w.Update(ctx, &marker)
		_ = w.Delete(ctx, &marker, client.GracePeriodSeconds(0))
	}
}

func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w world) manager(opts eviction.Options) (stop func()) {
	w.Helper()
	return testenv.StartManager(w.T, func(mgr ctrl.Manager) error { return eviction.Setup(mgr, opts) }, eviction.ByObject())
}

// guard puts it up, or lifts it. The policy itself is not installed, so that nothing is refused.
func (w world) guard(up bool) {
	w.Helper()
	action := map[bool]admissionv1.ValidationAction{true: admissionv1.Deny, false: admissionv1.Audit}[up]
	object := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: miniv1.UninstallGuard},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: miniv1.UninstallGuard,
			ValidationActions: []admissionv1.ValidationAction{action}},
	}
	if err := w.Create(w.Context(), object); !apierrors.IsAlreadyExists(err) {
		w.must(err)
		return
	}
	patch := fmt.Appendf(nil, `{"spec":{"validationActions":[%q]}}`, action)
	w.must(w.Patch(w.Context(), object, client.RawPatch("application/merge-patch+json", patch)))
}

// node changes the core Node.
func (w world) node(patch string, args ...any) {
	w.Helper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	w.must(w.Patch(w.Context(), object, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, patch, args...))))
}

func (w world) cordon(on bool) { w.Helper(); w.node(`{"spec":{"unschedulable":%t}}`, on) }

// taint sets the node's only NoExecute taint; "" takes it away.
func (w world) taint(key string) {
	w.Helper()
	if key == "" {
		w.node(`{"spec":{"taints":null}}`)
		return
	}
	w.node(`{"spec":{"taints":[{"key":%q,"effect":"NoExecute"}]}}`, key)
}

// evict is what kubectl drain does to each Pod of a cordoned node.
func (w world) evict() (evicted corev1.Pod) {
	w.Helper()
	w.must(w.Get(w.Context(), markerKey, &evicted))
	w.must(w.SubResource("eviction").Create(w.Context(), &evicted, &policyv1.Eviction{}))
	return evicted
}

// pod makes a MiniPod of a MiniReplicaSet that runs on the node.
func (w world) pod(name string, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	w.Helper()
	yes := true
	out := builders.Pod(w.ns, name).With(func(pod *miniv1.MiniPod) {
		pod.UID, pod.Finalizers = "", []string{miniv1.AgentFinalizer}
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "miniplane.dev/v1alpha1", Kind: "MiniReplicaSet", Name: "web", UID: "web", Controller: &yes}}
		for _, change := range change {
			change(pod)
		}
	}).Obj()
	w.must(w.Create(w.Context(), out))
	before := out.DeepCopy()
	out.Status = miniv1.MiniPodStatus{NodeName: node, Phase: miniv1.PodRunning, Summary: "Running"}
	for _, condition := range []string{miniv1.ConditionPodScheduled, miniv1.ConditionReady} {
		conditions.Set(&out.Status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionTrue, Reason: "Test"})
	}
	w.must(w.Status().Patch(w.Context(), out, client.MergeFrom(before)))
	return out
}

func bare(pod *miniv1.MiniPod) { pod.OwnerReferences = nil }

// letGo is what an agent does when the containers have ended.
func (w world) letGo(pods ...*miniv1.MiniPod) {
	w.Helper()
	for _, pod := range pods {
		w.must(w.Patch(w.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	}
}

// state of a MiniPod: "gone", or "runs" or "deleting", and the reason of its condition DisruptionTarget.
func (w world) state(pod *miniv1.MiniPod) string {
	var now miniv1.MiniPod
	if err := w.Get(context.Background(), client.ObjectKeyFromObject(pod), &now); err != nil {
		return "gone"
	}
	out := "runs"
	if now.DeletionTimestamp != nil {
		out = "deleting"
	}
	if target := meta.FindStatusCondition(now.Status.Conditions, miniv1.ConditionDisruptionTarget); target != nil {
		out += " " + target.Reason
	}
	if !meta.IsStatusConditionTrue(now.Status.Conditions, miniv1.ConditionReady) {
		out += " and lost its other conditions"
	}
	return out
}

// marker tells what the node's drain marker is: "none", "half made", "stands", or "is held" while it is being deleted.
func (w world) marker() string {
	var marker corev1.Pod
	switch err := w.Get(context.Background(), markerKey, &marker); {
	case err != nil:
		return "none"
	case !decide.IsComplete(&marker):
		return "half made"
	case marker.DeletionTimestamp != nil:
		return "is held"
	}
	return "stands"
}

func (w world) podIs(pod *miniv1.MiniPod, want string) {
	w.Helper()
	testenv.Eventually(w.T, func() string { return differs(pod.Name, w.state(pod), want) })
}

func (w world) markerIs(want string) {
	w.Helper()
	testenv.Eventually(w.T, func() string { return differs("the marker", w.marker(), want) })
}

func differs(what, got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s is %q, want %q", what, got, want)
}

// settled waits until the manager has seen, and answered, everything that happened before: it is asked for something else and
// does that.
func (w world) settled() {
	w.Helper()
	name := "settled-" + w.ns
	w.must(w.Create(w.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	w.must(w.Create(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	key := client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: decide.MarkerName(name)}
	testenv.Eventually(w.T, func() string { return errorText(w.Get(w.Context(), key, &corev1.Pod{})) })
	w.must(w.Delete(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	w.must(w.Delete(w.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	testenv.Eventually(w.T, func() string {
		if w.Get(w.Context(), key, &corev1.Pod{}) == nil {
			return "the marker of a node that is gone is still there"
		}
		return ""
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
