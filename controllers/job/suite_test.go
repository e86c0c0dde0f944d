package job_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/job"
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
	reconciler *job.Reconciler
	events     *events.FakeRecorder
	time       time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, live := testenv.Start(t)
	w := &world{T: t, Client: live, namespace: testenv.Namespace(t, live), events: events.NewFakeRecorder(1000), time: time.Now().Truncate(time.Second)}
	w.restart(fresh.Client(live))
	return w
}

// restart gives the namespace a new reconciler, which remembers nothing, and reads through c.
func (w *world) restart(c client.Client) {
	w.reconciler = job.NewReconciler(c, w.Client, w.events, func() time.Time { return w.time })
}

func (w *world) job(name string, completions, parallelism int32, edit ...func(*miniv1.MiniJobSpec)) *miniv1.MiniJob {
	w.Helper()
	j := &miniv1.MiniJob{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	j.Spec.Completions, j.Spec.Parallelism = &completions, &parallelism
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
	for _, e := range edit {
		e(&j.Spec)
	}
	w.must(w.Create(w.Context(), j))
	return j
}

func indexed(s *miniv1.MiniJobSpec) { s.CompletionMode = batchv1.IndexedCompletion }

func (w *world) pass(j client.Object) (ctrl.Result, error) {
	w.Helper()
	return w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(j)})
}

// settle reconciles until nothing changes any more, and reads the MiniJob.
func (w *world) settle(j *miniv1.MiniJob) {
	w.Helper()
	for range 20 {
		before := w.versions(j)
		if _, err := w.pass(j); err != nil {
			w.Fatalf("reconcile: %v", err)
		}
		w.bury()
		if slices.Equal(before, w.versions(j)) {
			w.read(j)
			return
		}
	}
	w.Fatal("does not settle")
}

func (w *world) versions(j *miniv1.MiniJob) []string {
	w.Helper()
	w.read(j)
	out := []string{j.ResourceVersion}
	for _, pod := range w.pods() {
		out = append(out, pod.Name+"@"+pod.ResourceVersion)
	}
	return out
}

func (w *world) read(o client.Object) {
	w.Helper()
	w.must(w.Get(w.Context(), client.ObjectKeyFromObject(o), o))
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

// end plays the scheduler and the agent: the MiniPod ran, and ended with this code.
func (w *world) end(pod *miniv1.MiniPod, code int32) {
	w.Helper()
	before := pod.DeepCopy()
	pod.Status.NodeName, pod.Status.Phase = "node-a", miniv1.PodSucceeded
	if code != 0 {
		pod.Status.Phase = miniv1.PodFailed
	}
	pod.Status.ContainerStatuses = []miniv1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, FinishedAt: metav1.NewTime(w.time)}}}}
	w.must(w.Status().Patch(w.Context(), pod, client.MergeFrom(before)))
}

// run has a MiniPod run on its node.
func (w *world) run(pod *miniv1.MiniPod) {
	w.Helper()
	before := pod.DeepCopy()
	pod.Status.NodeName, pod.Status.Phase = "node-a", miniv1.PodRunning
	w.must(w.Status().Patch(w.Context(), pod, client.MergeFrom(before)))
}

// bury plays the agent: it lets MiniPods that are being deleted go.
func (w *world) bury() {
	w.Helper()
	for _, pod := range w.pods() {
		at := slices.Index(pod.Finalizers, miniv1.AgentFinalizer)
		if podstate.IsDeleting(pod) && at >= 0 {
			w.must(w.Patch(w.Context(), pod, client.RawPatch("application/json-patch+json",
				fmt.Appendf(nil, `[{"op":"remove","path":"/metadata/finalizers/%d"}]`, at))))
		}
	}
}

func (w *world) patch(o client.Object, patch string) {
	w.Helper()
	w.must(w.Patch(w.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

// want compares what the status tells: summary, progress, active, failed.
func (w *world) want(j *miniv1.MiniJob, want string) {
	w.Helper()
	w.read(j)
	s := j.Status
	if got := fmt.Sprintf("%s %s active=%d failed=%d", s.Summary, s.Progress, s.Active, s.Failed); got != want {
		w.Fatalf("got %s, want %s", got, want)
	}
}

// wantEvents empties the list of Events.
func (w *world) wantEvents(want ...string) {
	w.Helper()
	var got []string
	for len(w.events.Events) > 0 {
		got = append(got, <-w.events.Events)
	}
	if !slices.Equal(got, want) {
		w.Errorf("Events %q, want %q", got, want)
	}
}

func condition(j *miniv1.MiniJob, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(j.Status.Conditions, kind); c != nil {
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
