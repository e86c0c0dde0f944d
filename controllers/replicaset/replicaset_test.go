package replicaset_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/fresh"
	"miniplane.dev/miniplane/test/testenv"
)

func TestCreates(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 3, func(s *miniv1.MiniReplicaSet) {
		s.Spec.Template.Metadata.Annotations = map[string]string{"note": "x"}
	})
	w.settle(set)
	pods := w.pods()
	if len(pods) != 3 {
		t.Fatalf("%d MiniPods, want 3", len(pods))
	}
	for _, pod := range pods {
		if !strings.HasPrefix(pod.Name, "web-") || len(pod.Name) != len("web-")+5 {
			t.Errorf("name %q", pod.Name)
		}
		if !metav1.IsControlledBy(pod, set) || !slices.Equal(pod.Finalizers, []string{miniv1.AgentFinalizer}) {
			t.Errorf("owners %v, finalizers %v", pod.OwnerReferences, pod.Finalizers)
		}
		if pod.Labels["app"] != "web" || pod.Annotations["note"] != "x" {
			t.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
		}
	}
	w.wantCounts(set, 3, 3, 0, 0)
	if set.Status.Selector != "app=web" || set.Status.ObservedGeneration != set.Generation {
		t.Errorf("status %+v", set.Status)
	}
	for _, pod := range pods {
		w.ready(pod, "node-a")
	}
	w.settle(set)
	w.wantCounts(set, 3, 3, 3, 3)
	if got := condition(set, miniv1.ConditionReady); got.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", got)
	}
	if len(w.events.Events) != 0 {
		t.Errorf("%d Events on the happy path", len(w.events.Events))
	}
}

func TestScale(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 2)
	for _, n := range []int{2, 20, 2, 0, 1} {
		w.scale(set, n)
		w.settle(set)
		if got := len(w.active()); got != n {
			t.Fatalf("scaled to %d: %d MiniPods", n, got)
		}
		w.wantCounts(set, int32(n), int32(n))
		w.bury()
	}
}

// Who goes first is decided in package replicas; here it must be carried out.
func TestScaleDownTakesTheUnready(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 4)
	w.settle(set)
	keep := w.pods()[:2]
	var want []string
	for _, pod := range keep {
		w.ready(pod, "node-a")
		want = append(want, pod.Name)
	}
	w.scale(set, 2)
	w.settle(set)
	var got []string
	for _, pod := range w.active() {
		got = append(got, pod.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left (-want,+got):\n%s", diff)
	}
	w.wantCounts(set, 2, 2, 2, 2)
}

// A MiniPod that is being deleted is replaced at once, and one that failed for good as well.
func TestReplaces(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 2)
	w.settle(set)
	pods := w.pods()
	w.must(w.Delete(t.Context(), pods[0]))
	before := pods[1].DeepCopy()
	pods[1].Status.Phase = miniv1.PodFailed
	w.must(w.Status().Patch(t.Context(), pods[1], client.MergeFrom(before)))
	w.settle(set)
	if all, active := len(w.pods()), len(w.active()); all != 4 || active != 2 {
		t.Errorf("%d MiniPods, %d active; want 4 and 2", all, active)
	}
}

func TestMinReadySeconds(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 1, func(s *miniv1.MiniReplicaSet) { s.Spec.MinReadySeconds = 30 })
	w.settle(set)
	w.time = w.time.Truncate(time.Second)
	w.ready(w.pods()[0], "node-a")
	w.time = w.time.Add(10 * time.Second)
	result, err := w.pass(set)
	w.must(err)
	if result.RequeueAfter != 20*time.Second {
		t.Errorf("looks again after %v, want 20 s", result.RequeueAfter)
	}
	w.settle(set)
	w.wantCounts(set, 1, 1, 1, 0)
	w.time = w.time.Add(20 * time.Second)
	w.settle(set)
	w.wantCounts(set, 1, 1, 1, 1)
}

func TestAdoptsAndReleases(t *testing.T) {
	w := newWorld(t)
	loose := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "loose", Labels: map[string]string{"app": "web"}}}
	loose.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
	w.must(w.Create(t.Context(), loose))
	set := w.set("web", 2)
	w.settle(set)
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(loose), loose))
	if !metav1.IsControlledBy(loose, set) || len(w.pods()) != 2 {
		t.Fatalf("not adopted: %v, %d MiniPods", loose.OwnerReferences, len(w.pods()))
	}

	// Taken out for debugging: it stays, nobody's, and is replaced.
	w.must(w.Patch(t.Context(), loose, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app":"debug"}}}`))))
	w.settle(set)
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(loose), loose))
	if len(loose.OwnerReferences) != 0 || len(w.pods()) != 3 {
		t.Errorf("not released: %v, %d MiniPods", loose.OwnerReferences, len(w.pods()))
	}
	w.wantCounts(set, 2)
}

// Two sets reach for one MiniPod: one gets it, and no third MiniPod is made for it.
func TestAdoptionConflict(t *testing.T) {
	w := newWorld(t)
	loose := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "loose", Labels: map[string]string{"app": "web"}}}
	loose.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
	w.must(w.Create(t.Context(), loose))
	set := w.set("web", 1)
	stale := &frozen{Client: fresh.Client(w.Client)}
	w.restart(stale)
	stale.freeze(w)
	w.must(w.Patch(t.Context(), loose.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"more":"x"}}}`))))
	result, err := w.pass(set)
	if err != nil || result.RequeueAfter == 0 {
		t.Fatalf("a conflict gives %+v, %v", result, err)
	}
	stale.thaw()
	w.settle(set)
	if got := len(w.pods()); got != 1 {
		t.Errorf("%d MiniPods", got)
	}
}

// A set that is gone, in the API server though not in the cache, adopts nothing.
func TestDeletedSetAdoptsNothing(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 0)
	w.settle(set)
	stale := &frozen{Client: fresh.Client(w.Client)}
	w.restart(stale)
	loose := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "loose", Labels: map[string]string{"app": "web"}}}
	loose.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
	w.must(w.Create(t.Context(), loose))
	stale.freeze(w)
	stale.set = set.DeepCopy()
	w.must(w.Delete(t.Context(), set))
	if _, err := w.pass(set); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want that the set is not found", err)
	}
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(loose), loose))
	if len(loose.OwnerReferences) != 0 {
		t.Error("adopted")
	}
}

// Orphaning and foreground deletion leave the set with a deletion time: it creates, adopts and releases nothing then.
func TestSetBeingDeleted(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 1, func(s *miniv1.MiniReplicaSet) { s.Finalizers = []string{"test.miniplane.dev/hold"} })
	w.settle(set)
	pod := w.pods()[0]
	w.must(w.Delete(t.Context(), set))
	w.must(w.Patch(t.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"ownerReferences":null}}`))))
	w.settle(set)
	if pods := w.pods(); len(pods) != 1 || len(pods[0].OwnerReferences) != 0 {
		t.Errorf("pods %v", pods)
	}
	w.must(w.Patch(t.Context(), set, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	if result, err := w.pass(set); err != nil || result.RequeueAfter != 0 {
		t.Errorf("a set that is gone gives %+v, %v", result, err)
	}
}

func TestSelectorMismatch(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 2, func(s *miniv1.MiniReplicaSet) { s.Spec.Template.Metadata.Labels = map[string]string{"app": "wrong"} })
	w.settle(set)
	stalled := condition(set, miniv1.ConditionStalled)
	if stalled.Reason != miniv1.ReasonSelectorMismatch || !strings.Contains(stalled.Message, "spec.template.metadata.labels") {
		t.Errorf("Stalled is %+v", stalled)
	}
	if len(w.pods()) != 0 || set.Status.ObservedGeneration != set.Generation {
		t.Errorf("%d MiniPods, status %+v", len(w.pods()), set.Status)
	}
	w.must(w.Patch(t.Context(), set, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"template":{"metadata":{"labels":{"app":"web"}}}}}`))))
	w.settle(set)
	if len(w.pods()) != 2 || condition(set, miniv1.ConditionStalled).Status != "" {
		t.Errorf("corrected: %d MiniPods, %+v", len(w.pods()), set.Status.Conditions)
	}
}

// A refusal by a native ResourceQuota is shown in the API server's words, costs one request per try, and is over when
// there is room.
func TestReplicaFailure(t *testing.T) {
	w := newWorld(t)
	w.quota(3)
	set := w.set("web", 10)
	_, err := w.pass(set)
	if !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, want the refusal, so that it is tried again", err)
	}
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(set), set))
	failure := condition(set, miniv1.ConditionReplicaFailure)
	if failure.Reason != miniv1.ReasonFailedCreate || !strings.Contains(failure.Message, "exceeded quota: few") {
		t.Errorf("ReplicaFailure is %+v", failure)
	}
	if made := len(w.pods()); made != 3 {
		t.Errorf("%d MiniPods, want 3", made)
	}
	w.wantCounts(set, 3)
	if _, err = w.pass(set); !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
	if len(w.events.Events) != 1 {
		t.Errorf("%d Events for one failure", len(w.events.Events))
	}
	if event := <-w.events.Events; !strings.HasPrefix(event, "Warning FailedCreate") {
		t.Errorf("Event %q", event)
	}

	w.quota(10)
	w.settle(set)
	if condition(set, miniv1.ConditionReplicaFailure).Status != "" || len(w.pods()) != 10 {
		t.Errorf("with room: %+v, %d MiniPods", set.Status.Conditions, len(w.pods()))
	}
}

// quota allows n MiniPods. No controller counts in this test, so the test writes what the one of Kubernetes would.
func (w *world) quota(n int64) {
	w.Helper()
	hard := corev1.ResourceList{"count/minipods.miniplane.dev": *resource.NewQuantity(n, resource.DecimalSI)}
	used := corev1.ResourceList{"count/minipods.miniplane.dev": *resource.NewQuantity(int64(len(w.pods())), resource.DecimalSI)}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "few"}}
	err := w.Get(w.Context(), client.ObjectKeyFromObject(quota), quota)
	quota.Spec.Hard = hard
	if apierrors.IsNotFound(err) {
		w.must(w.Create(w.Context(), quota))
	} else {
		w.must(w.Update(w.Context(), quota))
	}
	quota.Status.Hard, quota.Status.Used = hard, used
	w.must(w.Status().Update(w.Context(), quota))
	w.settledQuota(n)
}

// settledQuota waits until admission has seen the quota: it refuses, or lets through, a MiniPod that is not stored.
func (w *world) settledQuota(n int64) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		probe := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "probe-"}}
		probe.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
		err := w.Create(w.Context(), probe, client.DryRunAll)
		if room := int64(len(w.pods())) < n; room != (err == nil) {
			return fmt.Sprintf("room is %v, the API server says %v", room, err)
		}
		return ""
	})
}

// A template that can never be created stalls the set, and costs one request.
func TestInvalidTemplate(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 50, func(s *miniv1.MiniReplicaSet) {
		s.Spec.Template.Metadata.Labels = map[string]string{"app": "web", "bad": "not a label!"}
	})
	if _, err := w.pass(set); !apierrors.IsInvalid(err) {
		t.Fatalf("got %v", err)
	}
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(set), set))
	if stalled := condition(set, miniv1.ConditionStalled); stalled.Reason != miniv1.ReasonFailedCreate || !strings.Contains(stalled.Message, "not a label!") {
		t.Errorf("Stalled is %+v", stalled)
	}
}

func TestLongNames(t *testing.T) {
	w := newWorld(t)
	set := w.set(strings.Repeat("n", 63), 2)
	w.settle(set)
	for _, pod := range w.pods() {
		if len(pod.Name) != 63 {
			t.Errorf("%q has %d letters", pod.Name, len(pod.Name))
		}
	}
}

// Of the MiniPods of several sets of one MiniDeployment, those on the most crowded node go first.
func TestSiblingsCount(t *testing.T) {
	w := newWorld(t)
	owner := &miniv1.MiniDeployment{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "8d2a61f1-7a9a-4b53-9e0e-b3f1f5a5cf2e"}}
	owned := func(s *miniv1.MiniReplicaSet) {
		s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, miniv1.GroupVersion.WithKind("MiniDeployment"))}
	}
	older, newer := w.set("older", 2, owned), w.set("newer", 2, owned)
	w.settle(older)
	for _, pod := range w.pods() {
		w.ready(pod, "crowded")
	}
	w.settle(newer)
	for i, pod := range w.active() {
		if metav1.IsControlledBy(pod, newer) {
			w.ready(pod, []string{"crowded", "free"}[i%2])
		}
	}
	w.scale(newer, 1)
	w.settle(newer)
	for _, pod := range w.active() {
		if metav1.IsControlledBy(pod, newer) && pod.Status.NodeName != "free" {
			t.Errorf("%s stays on the crowded node", fmt.Sprint(pod.Name))
		}
	}
}
