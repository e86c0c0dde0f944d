package deployment_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/deployment"
	"miniplane.dev/miniplane/controllers/replicaset"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/rollout"
	"miniplane.dev/miniplane/test/fresh"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is a namespace of the real API server in which everybody moves one step at a time: the reconcilers of
// MiniDeployments and MiniReplicaSets, and the test itself as scheduler and agents.
type world struct {
	*testing.T
	client.Client
	namespace   string
	deployments *deployment.Reconciler
	sets        *replicaset.Reconciler
	events      *events.FakeRecorder
	time        time.Time
	// broken are images whose MiniPods never become ready.
	broken map[string]bool
	// least and most are the bounds that every step is checked against; most 0 means unchecked.
	least, most int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, live := testenv.Start(t)
	w := &world{T: t, Client: live, namespace: testenv.Namespace(t, live), events: events.NewFakeRecorder(1000),
		time: time.Now().Truncate(time.Second), broken: map[string]bool{}}
	w.restart()
	return w
}

// restart gives the namespace new reconcilers, which remember nothing.
func (w *world) restart() {
	now := func() time.Time { return w.time }
	w.deployments = deployment.NewReconciler(fresh.Client(w.Client), w.Client, w.events, now)
	w.sets = replicaset.NewReconciler(fresh.Client(w.Client), w.Client, events.NewFakeRecorder(1000), now)
}

func (w *world) deployment(name string, replicas int32, edit ...func(*miniv1.MiniDeployment)) *miniv1.MiniDeployment {
	w.Helper()
	labels := map[string]string{"app": name}
	d := &miniv1.MiniDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	d.Spec.Replicas = &replicas
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Metadata.Labels = labels
	d.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "v1"}}
	for _, edit := range edit {
		edit(d)
	}
	w.must(w.Create(w.Context(), d))
	return d
}

// edit changes the MiniDeployment as a user does.
func (w *world) edit(d *miniv1.MiniDeployment, change func(*miniv1.MiniDeploymentSpec)) {
	w.Helper()
	w.read(d)
	change(&d.Spec)
	w.must(w.Update(w.Context(), d))
}

func image(name string) func(*miniv1.MiniDeploymentSpec) {
	return func(s *miniv1.MiniDeploymentSpec) { s.Template.Spec.Containers[0].Image = name }
}

func scale(n int32) func(*miniv1.MiniDeploymentSpec) {
	return func(s *miniv1.MiniDeploymentSpec) { s.Replicas = &n }
}

func (w *world) read(o client.Object) {
	w.Helper()
	w.must(w.Get(w.Context(), client.ObjectKeyFromObject(o), o))
}

// pass makes one reconcile of the MiniDeployment.
func (w *world) pass(d *miniv1.MiniDeployment) (ctrl.Result, error) {
	w.Helper()
	return w.deployments.Reconcile(w.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(d)})
}

// step lets everybody move once, and reports whether anything changed.
func (w *world) step(d *miniv1.MiniDeployment) bool {
	w.Helper()
	before := w.versions()
	_, err := w.pass(d)
	w.must(err)
	w.check(d)
	for _, set := range w.all() {
		_, err := w.sets.Reconcile(w.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(set)})
		w.must(err)
		w.check(d)
	}
	w.movePods()
	w.time = w.time.Add(time.Second)
	return !slices.Equal(before, w.versions())
}

// settle steps until nothing changes any more, and reads the MiniDeployment.
func (w *world) settle(d *miniv1.MiniDeployment) {
	w.Helper()
	for range 200 {
		if !w.step(d) {
			w.read(d)
			return
		}
	}
	w.Fatal("does not settle")
}

// movePods plays the scheduler and the agents: two MiniPods become ready, and those that are being deleted go.
func (w *world) movePods() {
	w.Helper()
	started := 0
	for _, pod := range w.pods() {
		switch {
		case podstate.IsDeleting(pod):
			w.must(w.Patch(w.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
		case !podstate.IsReady(pod) && started < 2 && !w.broken[pod.Spec.Containers[0].Image]:
			started++
			before := pod.DeepCopy()
			pod.Status.NodeName, pod.Status.Phase = "node-a", miniv1.PodRunning
			conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue,
				Reason: miniv1.ReasonContainersReady, LastTransitionTime: metav1.NewTime(w.time)})
			w.must(w.Status().Patch(w.Context(), pod, client.MergeFrom(before)))
		}
	}
}

// check counts what really runs against the bounds.
func (w *world) check(d *miniv1.MiniDeployment) {
	w.Helper()
	if w.most == 0 {
		return
	}
	existing, available := 0, 0
	for _, pod := range w.pods() {
		if podstate.IsActive(pod) {
			existing++
			if podstate.IsReady(pod) {
				available++
			}
		}
	}
	if existing > w.most || available < w.least {
		w.Fatalf("%s: %d MiniPods, %d available; at most %d and at least %d are allowed", d.Name, existing, available, w.most, w.least)
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

// all sets of the namespace, oldest revision first.
func (w *world) all() []*miniv1.MiniReplicaSet {
	w.Helper()
	list := &miniv1.MiniReplicaSetList{}
	w.must(w.List(w.Context(), list, client.InNamespace(w.namespace)))
	var out []*miniv1.MiniReplicaSet
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	slices.SortFunc(out, func(a, b *miniv1.MiniReplicaSet) int { return int(rollout.Revision(a) - rollout.Revision(b)) })
	return out
}

// versions are the resource versions of all that concerns rollouts.
func (w *world) versions() (out []string) {
	w.Helper()
	for _, list := range []client.ObjectList{&miniv1.MiniDeploymentList{}, &miniv1.MiniReplicaSetList{}, &miniv1.MiniPodList{}} {
		w.must(w.List(w.Context(), list, client.InNamespace(w.namespace)))
		w.must(meta.EachListItem(list, func(o runtime.Object) error {
			out = append(out, o.(client.Object).GetName()+"@"+o.(client.Object).GetResourceVersion())
			return nil
		}))
	}
	return out
}

// running describes what runs: image and number of each set with any, oldest revision first.
func (w *world) running() string {
	w.Helper()
	out := ""
	for _, set := range w.all() {
		if set.Status.Replicas > 0 {
			out += fmt.Sprintf("%s:%d@%d ", set.Spec.Template.Spec.Containers[0].Image, set.Status.Replicas, rollout.Revision(set))
		}
	}
	return out
}

func (w *world) wantRunning(want string) {
	w.Helper()
	if got := w.running(); got != want+" " {
		w.Fatalf("runs %q, want %q", got, want)
	}
}

// condition is the status and reason of a condition, as "True/Reason"; empty when there is none.
func condition(d *miniv1.MiniDeployment, kind string) string {
	if c := meta.FindStatusCondition(d.Status.Conditions, kind); c != nil {
		return string(c.Status) + "/" + c.Reason
	}
	return ""
}

func (w *world) wantCondition(d *miniv1.MiniDeployment, kind, want string) {
	w.Helper()
	if got := condition(d, kind); got != want {
		w.Errorf("%s is %q, want %q", kind, got, want)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func request(d *miniv1.MiniDeployment) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(d)}
}
