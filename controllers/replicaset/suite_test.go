package replicaset_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/replicaset"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/fresh"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is a namespace of the real API server with a reconciler that moves only when the test says so.
type world struct {
	*testing.T
	client.Client
	namespace  string
	reconciler *replicaset.Reconciler
	events     *events.FakeRecorder
	time       time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, live := testenv.Start(t)
	w := &world{T: t, Client: live, namespace: testenv.Namespace(t, live), events: events.NewFakeRecorder(100), time: time.Now()}
	w.restart(fresh.Client(live))
	return w
}

// restart gives the namespace a new reconciler, which remembers nothing, and reads through c.
func (w *world) restart(c client.Client) {
	w.reconciler = replicaset.NewReconciler(c, w.Client, w.events, func() time.Time { return w.time })
}

func (w *world) set(name string, replicas int32, edit ...func(*miniv1.MiniReplicaSet)) *miniv1.MiniReplicaSet {
	w.Helper()
	labels := map[string]string{"app": name}
	set := &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	set.Spec.Replicas = &replicas
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	set.Spec.Template.Metadata.Labels = labels
	set.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
	for _, edit := range edit {
		edit(set)
	}
	w.must(w.Create(w.Context(), set))
	return set
}

// pass makes one reconcile.
func (w *world) pass(set client.Object) (ctrl.Result, error) {
	w.Helper()
	return w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(set)})
}

// settle reconciles until nothing changes any more, and reads the set.
func (w *world) settle(set *miniv1.MiniReplicaSet) {
	w.Helper()
	for range 3 {
		if _, err := w.pass(set); err != nil {
			w.Fatalf("reconcile: %v", err)
		}
	}
	w.must(w.Get(w.Context(), client.ObjectKeyFromObject(set), set))
}

func (w *world) scale(set *miniv1.MiniReplicaSet, n int) {
	w.Helper()
	w.must(w.Patch(w.Context(), set, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n))))
}

func (w *world) pods() []*miniv1.MiniPod {
	w.Helper()
	list := &miniv1.MiniPodList{}
	w.must(w.List(w.Context(), list, client.InNamespace(w.namespace)))
	var out []*miniv1.MiniPod
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out
}

func (w *world) active() (out []*miniv1.MiniPod) {
	w.Helper()
	for _, pod := range w.pods() {
		if podstate.IsActive(pod) {
			out = append(out, pod)
		}
	}
	return out
}

// ready plays the scheduler and the agent: the MiniPod is bound to a node and ready.
func (w *world) ready(pod *miniv1.MiniPod, node string) {
	w.Helper()
	before := pod.DeepCopy()
	pod.Status.NodeName, pod.Status.Phase = node, miniv1.PodRunning
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonContainersReady, LastTransitionTime: metav1.NewTime(w.time)})
	w.must(w.Status().Patch(w.Context(), pod, client.MergeFrom(before)))
}

// bury plays the agent: it lets MiniPods that are being deleted go.
func (w *world) bury() {
	w.Helper()
	for _, pod := range w.pods() {
		if podstate.IsDeleting(pod) {
			w.must(w.Patch(w.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
		}
	}
}

// wantCounts compares the numbers of the status: replicas, fully labelled, ready, available.
func (w *world) wantCounts(set *miniv1.MiniReplicaSet, want ...int32) {
	w.Helper()
	s := set.Status
	got := []int32{s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas}
	for i := range want {
		if got[i] != want[i] {
			w.Fatalf("replicas, fully labelled, ready, available: got %v, want %v", got, want)
		}
	}
}

func condition(set *miniv1.MiniReplicaSet, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(set.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}
