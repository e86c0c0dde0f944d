package daemonset_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/daemonset"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/fresh"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is a namespace of the real API server, with nodes of its own that carry its name as a label, in which everybody moves one step at a
// time: the reconciler, and the test itself as scheduler and agents.
type world struct {
	*testing.T
	client.Client
	namespace  string
	reconciler *daemonset.Reconciler
	events     *events.FakeRecorder
	time       time.Time
	// broken are images whose MiniPods never become ready.
	broken map[string]bool
}

func newWorld(t *testing.T, nodes ...string) *world {
	t.Helper()
	_, live := testenv.Start(t)
	w := &world{T: t, Client: live, namespace: testenv.Namespace(t, live), events: events.NewFakeRecorder(1000),
		time: time.Now().Truncate(time.Second), broken: map[string]bool{}}
	for _, name := range nodes {
		w.node(name)
	}
	w.restart(fresh.Client(live))
	return w
}

// restart gives the namespace a new reconciler, which remembers nothing, and reads through c.
func (w *world) restart(c client.Client) {
	w.reconciler = daemonset.NewReconciler(c, w.Client, w.events, func() time.Time { return w.time })
}

// on is the whole name of a node.
func (w *world) on(node string) string { return w.namespace + "-" + node }

// node makes a MiniNode and a core Node.
func (w *world) node(name string, labels ...string) {
	w.Helper()
	name = w.on(name)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"world": w.namespace}}}
	for _, label := range labels {
		node.Labels[label] = "yes"
	}
	w.must(w.Create(w.Context(), node))
	w.must(w.Create(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	w.patchNode(strings.TrimPrefix(name, w.on("")), `{"spec":{"taints":null}}`) // the API server taints what is not ready
	w.Cleanup(func() {
		_ = w.Delete(context.Background(), node)
		_ = w.Delete(context.Background(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
}

func (w *world) patchNode(name, patch string) {
	w.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.on(name)}}
	w.must(w.Patch(w.Context(), node, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (w *world) taint(name string, effect corev1.TaintEffect) {
	w.Helper()
	w.patchNode(name, fmt.Sprintf(`{"spec":{"taints":[{"key":"team","value":"db","effect":%q}]}}`, effect))
}

func (w *world) set(name string, edit ...func(*miniv1.MiniDaemonSet)) *miniv1.MiniDaemonSet {
	w.Helper()
	labels := map[string]string{"app": name}
	set := &miniv1.MiniDaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	set.Spec.Template.Metadata.Labels = labels
	set.Spec.Template.Spec.NodeSelector = map[string]string{"world": w.namespace}
	set.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "v1"}}
	for _, edit := range edit {
		edit(set)
	}
	w.must(w.Create(w.Context(), set))
	return set
}

func rolling(surge, unavailable int) func(*miniv1.MiniDaemonSet) {
	s, u := intstr.FromInt(surge), intstr.FromInt(unavailable)
	return func(set *miniv1.MiniDaemonSet) {
		set.Spec.UpdateStrategy = miniv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType,
			RollingUpdate: &miniv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u}}
	}
}

// edit changes the MiniDaemonSet as a user does.
func (w *world) edit(set *miniv1.MiniDaemonSet, change func(*miniv1.MiniDaemonSet)) {
	w.Helper()
	w.read(set)
	before := set.DeepCopy()
	change(set)
	w.must(w.Patch(w.Context(), set, client.MergeFrom(before)))
}

func image(name string) func(*miniv1.MiniDaemonSet) {
	return func(set *miniv1.MiniDaemonSet) { set.Spec.Template.Spec.Containers[0].Image = name }
}

func (w *world) read(o client.Object) {
	w.Helper()
	w.must(w.Get(w.Context(), client.ObjectKeyFromObject(o), o))
}

// pass makes one reconcile.
func (w *world) pass(set *miniv1.MiniDaemonSet) ctrl.Result {
	w.Helper()
	result, err := w.reconciler.Reconcile(w.Context(), request(set))
	w.must(err)
	return result
}

func request(set *miniv1.MiniDaemonSet) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(set)}
}

// step lets everybody move once, and reports whether anything changed.
func (w *world) step(set *miniv1.MiniDaemonSet) bool {
	w.Helper()
	before := w.versions()
	w.pass(set)
	w.check()
	w.movePods()
	w.time = w.time.Add(time.Second)
	return !slices.Equal(before, w.versions())
}

// settle steps until nothing changes any more, and reads the MiniDaemonSet.
func (w *world) settle(set *miniv1.MiniDaemonSet) {
	w.Helper()
	for range 100 {
		if !w.step(set) {
			w.read(set)
			return
		}
	}
	w.Fatal("does not settle")
}

// movePods plays the scheduler and the agents: MiniPods get the node that they ask for and become ready, and those that are being deleted go.
func (w *world) movePods() {
	w.Helper()
	for _, pod := range w.pods() {
		switch {
		case podstate.IsDeleting(pod):
			w.must(w.Patch(w.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
		case !podstate.IsReady(pod) && podstate.IsActive(pod) && !w.broken[pod.Spec.Containers[0].Image]:
			w.status(pod, func(status *miniv1.MiniPodStatus) {
				status.NodeName, status.Phase = pod.Spec.NodeName, miniv1.PodRunning
				conditions.Set(&status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue,
					Reason: miniv1.ReasonContainersReady, LastTransitionTime: metav1.NewTime(w.time)})
			})
		}
	}
}

func (w *world) status(pod *miniv1.MiniPod, change func(*miniv1.MiniPodStatus)) {
	w.Helper()
	before := pod.DeepCopy()
	change(&pod.Status)
	w.must(w.Status().Patch(w.Context(), pod, client.MergeFrom(before)))
}

// fail has the MiniPod of a node fail.
func (w *world) fail(node string) {
	w.Helper()
	for _, pod := range w.pods() {
		if daemonplan.NodeOf(pod) == w.on(node) && podstate.IsActive(pod) {
			w.status(pod, func(status *miniv1.MiniPodStatus) {
				status.NodeName, status.Phase, status.Conditions = pod.Spec.NodeName, miniv1.PodFailed, nil
			})
		}
	}
}

// check holds that no node has two MiniPods of one revision.
func (w *world) check() {
	w.Helper()
	seen := map[string]bool{}
	for _, pod := range w.pods() {
		key := daemonplan.NodeOf(pod) + "/" + pod.Labels[appsv1.ControllerRevisionHashLabelKey]
		if podstate.IsActive(pod) && seen[key] {
			w.Fatalf("two of one revision: %s", key)
		}
		seen[key] = seen[key] || podstate.IsActive(pod)
	}
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

// there is what each node has, in the order of names: "a:v1 b:v2". A MiniPod that is being deleted has a "-" behind it, one that is not ready a "?".
func (w *world) there() string {
	w.Helper()
	var out []string
	for _, pod := range w.pods() {
		text := strings.TrimPrefix(daemonplan.NodeOf(pod), w.on("")) + ":" + pod.Spec.Containers[0].Image
		if !podstate.IsReady(pod) {
			text += "?"
		}
		if podstate.IsDeleting(pod) {
			text += "-"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (w *world) wantThere(want string) {
	w.Helper()
	if got := w.there(); got != want {
		w.Fatalf("there is %q, want %q", got, want)
	}
}

// revisions are those of the namespace, oldest first.
func (w *world) revisions() []*appsv1.ControllerRevision {
	w.Helper()
	list := &appsv1.ControllerRevisionList{}
	w.must(w.List(w.Context(), list, client.InNamespace(w.namespace)))
	var out []*appsv1.ControllerRevision
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	slices.SortFunc(out, func(a, b *appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return out
}

// versions are the resource versions of all that concerns the sets.
func (w *world) versions() (out []string) {
	w.Helper()
	for _, list := range []client.ObjectList{&miniv1.MiniDaemonSetList{}, &miniv1.MiniPodList{}, &appsv1.ControllerRevisionList{}} {
		w.must(w.List(w.Context(), list, client.InNamespace(w.namespace)))
		w.must(meta.EachListItem(list, func(o runtime.Object) error {
			out = append(out, o.(client.Object).GetName()+"@"+o.(client.Object).GetResourceVersion())
			return nil
		}))
	}
	return out
}

// wantCounts compares desired, current, ready, updated, available, misscheduled.
func (w *world) wantCounts(set *miniv1.MiniDaemonSet, want ...int32) {
	w.Helper()
	w.read(set)
	s := set.Status
	if got := []int32{s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable, s.NumberMisscheduled}; !slices.Equal(got, want) {
		w.Fatalf("desired, current, ready, updated, available, misscheduled: got %v, want %v", got, want)
	}
}

func (w *world) wantEvent(contains string) {
	w.Helper()
	for {
		select {
		case event := <-w.events.Events:
			if strings.Contains(event, contains) {
				return
			}
		default:
			w.Fatalf("no Event with %q", contains)
		}
	}
}

// condition is the status and reason of a condition, as "True/Reason"; empty when there is none.
func condition(set *miniv1.MiniDaemonSet, kind string) string {
	if c := meta.FindStatusCondition(set.Status.Conditions, kind); c != nil {
		return string(c.Status) + "/" + c.Reason
	}
	return ""
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}
