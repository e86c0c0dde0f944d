package daemonset_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/fresh"
)

// What the API server makes of a set that says little is what Kubernetes makes of a DaemonSet.
func TestDefaults(t *testing.T) {
	w := newWorld(t)
	set := w.set("web")
	if s := set.Spec; s.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || *s.RevisionHistoryLimit != 10 {
		t.Errorf("%+v", s)
	}
	object := &miniv1.MiniDaemonSet{}
	object.Name, object.Namespace = "bounded", w.namespace
	object.Spec = *set.Spec.DeepCopy()
	object.Spec.UpdateStrategy.RollingUpdate = &miniv1.RollingUpdateDaemonSet{}
	w.must(w.Create(t.Context(), object))
	if r := object.Spec.UpdateStrategy.RollingUpdate; r.MaxSurge.String() != "0" || r.MaxUnavailable.String() != "1" {
		t.Errorf("maxSurge %s, maxUnavailable %s", r.MaxSurge, r.MaxUnavailable)
	}
}

func TestOneOnEachNode(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web")
	if w.pass(set); w.there() != "a:v1? b:v1?" {
		t.Fatal(w.there())
	}
	w.wantCounts(set, 2, 2, 0, 2, 0, 0)
	for _, pod := range w.pods() {
		if pod.Spec.NodeName == "" || pod.Status.NodeName != "" || pod.Finalizers[0] != miniv1.AgentFinalizer || len(pod.Spec.Tolerations) != 6 ||
			pod.Labels[appsv1.ControllerRevisionHashLabelKey] == "" || !metav1.IsControlledBy(pod, set) || !strings.HasPrefix(pod.Name, "web-") {
			t.Errorf("%+v", pod)
		}
	}
	w.settle(set)
	w.wantCounts(set, 2, 2, 2, 2, 2, 0)
	if condition(set, miniv1.ConditionReady) != "True/ReplicasReady" || set.Status.ObservedGeneration != set.Generation {
		t.Errorf("%+v", set.Status)
	}

	w.node("c")
	w.settle(set)
	w.wantThere("a:v1 b:v1 c:v1")

	w.patchNode("b", `{"metadata":{"labels":{"world":"another"}}}`)
	w.settle(set)
	w.wantThere("a:v1 c:v1")

	w.taint("a", corev1.TaintEffectNoExecute)
	w.taint("c", corev1.TaintEffectNoSchedule)
	w.settle(set)
	w.wantThere("c:v1")
	w.wantCounts(set, 0, 0, 0, 0, 0, 1)

	// What is there stays; when it is gone none comes after it.
	w.must(w.Delete(t.Context(), w.pods()[0]))
	w.settle(set)
	w.wantThere("")
	w.patchNode("a", `{"spec":{"taints":null}}`)
	w.settle(set)
	w.wantThere("a:v1")
}

// A node that has only one of its two objects is none.
func TestHalfANode(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web")
	w.must(w.Delete(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: w.on("a")}}))
	w.must(w.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.on("b")}}))
	w.settle(set)
	w.wantThere("")
	w.wantCounts(set, 0, 0, 0, 0, 0, 0)
}

// What waits for its node when that goes is deleted; what is bound there is the node controller's.
func TestNodeGoes(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web")
	w.pass(set)
	for _, pod := range w.pods() {
		if pod.Spec.NodeName == w.on("a") {
			w.status(pod, func(status *miniv1.MiniPodStatus) {
				status.NodeName, status.Phase = pod.Spec.NodeName, miniv1.PodRunning
			})
		}
	}
	for _, name := range []string{"a", "b"} {
		w.must(w.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.on(name)}}))
	}
	w.pass(set)
	w.wantThere("a:v1? b:v1?-")
}

// A node that miniplane is about to leave keeps what it has, and gets nothing new.
func TestLeavingNode(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web")
	w.settle(set)
	mini := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: w.on("a")}}
	w.read(mini)
	conditions.Set(&mini.Status.Conditions, metav1.Condition{Type: miniv1.ConditionLeaving, Status: metav1.ConditionTrue, Reason: miniv1.ReasonMovingMiniPods})
	w.must(w.Status().Update(t.Context(), mini))
	w.settle(set)
	w.wantThere("a:v1")
	w.must(w.Delete(t.Context(), w.pods()[0]))
	w.settle(set)
	w.wantThere("")
}

// One at a time, and never one before the last has left its node.
func TestUpdateInPlace(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web")
	w.settle(set)
	w.edit(set, image("v2"))
	var got []string
	for w.step(set) {
		if there := w.there(); len(got) == 0 || there != got[len(got)-1] {
			got = append(got, there)
		}
	}
	want := []string{"b:v1", "a:v2 b:v1", "a:v2", "a:v2 b:v2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.wantCounts(set, 2, 2, 2, 2, 2, 0)
}

// The new one runs beside the old one until it is available.
func TestUpdateBeside(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web", rolling(1, 0), func(set *miniv1.MiniDaemonSet) { set.Spec.MinReadySeconds = 2 })
	w.settle(set)
	for w.pass(set).RequeueAfter > 0 { // until what is there is available
		w.time = w.time.Add(time.Second)
	}
	w.edit(set, image("v2"))
	var got []string
	for range 12 {
		w.step(set)
		if there := w.there(); len(got) == 0 || there != got[len(got)-1] {
			got = append(got, there)
		}
	}
	want := []string{"a:v1 a:v2 b:v1", "a:v2 b:v1 b:v2", "a:v2 b:v2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOnDelete(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web", func(set *miniv1.MiniDaemonSet) {
		set.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	})
	w.settle(set)
	w.edit(set, image("v2"))
	w.settle(set)
	w.wantThere("a:v1 b:v1")
	w.wantCounts(set, 2, 2, 2, 0, 2, 0)
	for _, pod := range w.pods() {
		if pod.Spec.NodeName == w.on("a") {
			w.must(w.Delete(t.Context(), pod))
		}
	}
	w.settle(set)
	w.wantThere("a:v2 b:v1")
	w.wantCounts(set, 2, 2, 2, 1, 2, 0)
}

// A broken template takes down as many as may be missing, and the next one mends it.
func TestBrokenUpdate(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	set := w.set("web")
	w.settle(set)
	w.broken["v2"] = true
	w.edit(set, image("v2"))
	w.settle(set)
	w.wantThere("a:v2? b:v1 c:v1")
	if condition(set, miniv1.ConditionReady) != "False/ReplicasNotReady" || condition(set, miniv1.ConditionReconciling) == "" {
		t.Errorf("%+v", set.Status.Conditions)
	}
	w.edit(set, image("v3"))
	w.settle(set)
	w.wantThere("a:v3 b:v3 c:v3")
}

// Templates are kept as revisions, and the words of docs/minidaemonset.md bring one back.
func TestHistory(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web", func(set *miniv1.MiniDaemonSet) {
		set.Spec.RevisionHistoryLimit = new(int32(2))
		set.Annotations = map[string]string{"kubernetes.io/change-cause": "the first"}
	})
	w.settle(set)
	for _, name := range []string{"v2", "v3", "v4"} {
		w.edit(set, image(name))
		w.settle(set)
	}
	revisions := w.revisions()
	if len(revisions) != 3 || revisions[0].Revision != 2 || revisions[2].Revision != 4 {
		t.Fatalf("%d revisions: %+v", len(revisions), revisions)
	}
	if r := revisions[0]; !metav1.IsControlledBy(r, set) || r.Annotations["kubernetes.io/change-cause"] != "the first" {
		t.Errorf("%+v", r.ObjectMeta)
	}
	var data struct {
		Spec struct{ Template json.RawMessage }
	}
	w.must(json.Unmarshal(revisions[0].Data.Raw, &data))
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/template","value":%s}]`, data.Spec.Template)
	w.must(w.Patch(t.Context(), set, client.RawPatch(types.JSONPatchType, patch)))
	w.settle(set)
	w.wantThere("a:v2")
	last := w.revisions()[2]
	if last.UID != revisions[0].UID || last.Revision != 5 || len(w.revisions()) != 3 {
		t.Errorf("the revision that came back has number %d", last.Revision)
	}
}

// A revision whose name another has gets another name; one that somebody deletes comes back.
func TestRevisionsOfOthers(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web")
	w.settle(set)
	old := w.revisions()[0]
	w.must(w.Delete(t.Context(), old))
	w.settle(set)
	if again := w.revisions(); len(again) != 1 || again[0].Name != old.Name {
		t.Fatalf("%+v", again)
	}
	other := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: old.Name}, Revision: 1,
		Data: runtime.RawExtension{Raw: []byte("{}")}}
	w.must(w.Delete(t.Context(), w.revisions()[0]))
	w.must(w.Create(t.Context(), other))
	w.settle(set)
	if got := w.revisions(); len(got) != 2 || *set.Status.CollisionCount != 1 {
		t.Errorf("%d revisions, %+v", len(got), set.Status)
	}
	w.wantThere("a:v1")
}

// A set that is deleted without what it made leaves that behind, and the next of its kind takes it over as it is.
func TestTakeOver(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web")
	w.settle(set)
	var before []string
	for _, pod := range w.pods() {
		before = append(before, string(pod.UID))
		w.must(w.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`))))
	}
	revision := w.revisions()[0]
	w.must(w.Patch(t.Context(), revision, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`))))
	w.must(w.Delete(t.Context(), set, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	w.must(client.IgnoreNotFound(w.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))))
	set = w.set("web")
	w.settle(set)
	var after []string
	for _, pod := range w.pods() {
		after = append(after, string(pod.UID))
		if !metav1.IsControlledBy(pod, set) {
			t.Errorf("%s is not adopted", pod.Name)
		}
	}
	if !slices.Equal(before, after) || len(w.revisions()) != 1 || !metav1.IsControlledBy(w.revisions()[0], set) {
		t.Errorf("MiniPods %v became %v; revisions %+v", before, after, w.revisions())
	}
}

// One that failed is replaced at once, the next after a pause that doubles.
func TestFailed(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web")
	w.settle(set)
	w.fail("a")
	w.settle(set)
	w.wantThere("a:v1 b:v1")
	w.wantEvent("FailedDaemonPod")
	for _, want := range []time.Duration{2, 8, 32} { // each time two are replaced
		w.fail("a")
		w.pass(set) // replaces it
		w.movePods()
		w.pass(set)
		w.fail("a")
		if after := w.pass(set).RequeueAfter; after != want*time.Second || w.there() != "a:v1? b:v1" {
			t.Fatalf("looks again after %v, want %d s; %s", after, want, w.there())
		}
		w.time = w.time.Add(time.Minute)
		w.settle(set)
		w.time = w.time.Add(time.Minute)
	}
	// A manager that knows nothing of it begins anew.
	w.fail("a")
	w.restart(fresh.Client(w.Client))
	w.settle(set)
	w.wantThere("a:v1 b:v1")
}

// Of several on one node, the oldest that is ready stays.
func TestDuplicates(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web")
	w.settle(set)
	first := w.pods()[0]
	for i := range 2 {
		twin := builders.Pod(w.namespace, fmt.Sprintf("twin-%d", i)).Labels(first.Labels).Obj()
		twin.UID, twin.Spec.NodeName = "", first.Spec.NodeName
		w.must(w.Create(t.Context(), twin))
		w.status(twin, func(status *miniv1.MiniPodStatus) {
			status.NodeName, status.Phase, status.Conditions = first.Spec.NodeName, miniv1.PodRunning, first.Status.Conditions
		})
	}
	w.status(first, func(status *miniv1.MiniPodStatus) { status.Conditions = nil })
	w.pass(set)
	var left []string
	for _, pod := range w.pods() {
		if podstate.IsActive(pod) {
			left = append(left, pod.Name)
		}
	}
	if len(left) != 1 || left[0] != "twin-0" {
		t.Errorf("left: %v", left)
	}
}

func TestSelectorMismatch(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web", func(set *miniv1.MiniDaemonSet) { set.Spec.Template.Metadata.Labels = map[string]string{"app": "other"} })
	w.settle(set)
	w.wantThere("")
	if condition(set, miniv1.ConditionStalled) != "True/SelectorMismatch" || len(w.revisions()) != 0 {
		t.Errorf("%+v", set.Status.Conditions)
	}
}
