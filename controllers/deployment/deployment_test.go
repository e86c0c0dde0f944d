package deployment_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/deployment"
	"miniplane.dev/miniplane/test/fresh"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 3)
	generation := d.Generation
	w.settle(d)
	w.wantRunning("v1:3@1")
	s := d.Status
	if s.Replicas != 3 || s.UpdatedReplicas != 3 || s.ReadyReplicas != 3 || s.AvailableReplicas != 3 || s.UnavailableReplicas != 0 ||
		s.ReadySummary != "3/3" || s.Selector != "app=web" || s.ObservedGeneration != generation {
		t.Errorf("status %+v", s)
	}
	w.wantCondition(d, miniv1.ConditionReady, "True/ReplicasReady")
	w.wantCondition(d, miniv1.ConditionAvailable, "True/MinimumReplicasAvailable")
	w.wantCondition(d, miniv1.ConditionProgressing, "True/NewReplicaSetAvailable")
	w.wantCondition(d, miniv1.ConditionStalled, "")
	w.wantCondition(d, miniv1.ConditionReconciling, "")
	if d.Annotations[miniv1.RevisionAnnotation] != "1" || d.Generation != generation {
		t.Errorf("annotations %v, generation %d -> %d", d.Annotations, generation, d.Generation)
	}
	w.wantEvents("Scaled up MiniReplicaSet web- from 0 to 3: 3 wanted")
}

// wantEvents compares the Events so far, hashes left out, each up to the length of what is wanted.
func (w *world) wantEvents(want ...string) {
	w.Helper()
	for _, want := range want {
		select {
		case got := <-w.events.Events:
			hash := strings.Index(got, "MiniReplicaSet web-") + len("MiniReplicaSet web-")
			bare := got[:hash] + got[hash+strings.Index(got[hash:], " "):]
			if !strings.HasPrefix(bare, "Normal ScalingReplicaSet "+want) {
				w.Errorf("Event %q, want %q", bare, want)
			}
		default:
			w.Errorf("no Event %q", want)
		}
	}
	if left := len(w.events.Events); left > 0 {
		w.Errorf("%d Events more, the first is %q", left, <-w.events.Events)
	}
}

func TestScale(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 2)
	w.settle(d)
	<-w.events.Events
	w.edit(d, scale(20))
	w.settle(d)
	w.wantRunning("v1:20@1")
	w.edit(d, scale(2))
	w.settle(d)
	w.wantRunning("v1:2@1")
	w.wantEvents("Scaled up MiniReplicaSet web- from 2 to 20", "Scaled down MiniReplicaSet web- from 20 to 2")
	if len(w.all()) != 1 || d.Status.ReadySummary != "2/2" {
		t.Errorf("%d sets, status %+v", len(w.all()), d.Status)
	}
}

func bounds(surge, unavailable string) func(*miniv1.MiniDeployment) {
	return func(d *miniv1.MiniDeployment) {
		s, u := intstr.Parse(surge), intstr.Parse(unavailable)
		d.Spec.Strategy.RollingUpdate = &miniv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}
	}
}

// What really runs is counted after every single move.
func TestRollingUpdate(t *testing.T) {
	for name, tc := range map[string]struct {
		surge, unavailable string
		least, most        int
	}{
		"defaults":        {"25%", "25%", 5, 8},
		"surge only":      {"1", "0", 6, 7},
		"no surge":        {"0", "1", 5, 6},
		"all at one time": {"100%", "0%", 6, 12},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.deployment("web", 6, bounds(tc.surge, tc.unavailable))
			w.settle(d)
			w.least, w.most = tc.least, tc.most
			w.edit(d, image("v2"))
			w.settle(d)
			w.wantRunning("v2:6@2")
			w.wantCondition(d, miniv1.ConditionReady, "True/ReplicasReady")
			if d.Annotations[miniv1.RevisionAnnotation] != "2" {
				t.Errorf("annotations %v", d.Annotations)
			}
		})
	}
}

// A new image that does not work stops by itself, and another one puts it right.
func TestBrokenImage(t *testing.T) {
	w := newWorld(t)
	seconds := int32(60)
	d := w.deployment("web", 4, bounds("1", "0"), func(d *miniv1.MiniDeployment) { d.Spec.ProgressDeadlineSeconds = &seconds })
	w.settle(d)
	w.least, w.most = 4, 5
	w.broken["v2"] = true
	w.edit(d, image("v2"))
	w.settle(d)
	w.wantRunning("v1:4@1 v2:1@2")
	w.wantCondition(d, miniv1.ConditionProgressing, "True/ReplicaSetUpdated")
	w.wantCondition(d, miniv1.ConditionReconciling, "True/ReplicaSetUpdated")

	result, err := w.pass(d)
	w.must(err)
	if result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
		t.Errorf("looks again after %v", result.RequeueAfter)
	}
	w.time = w.time.Add(time.Minute)
	w.settle(d)
	w.wantCondition(d, miniv1.ConditionProgressing, "False/ProgressDeadlineExceeded")
	w.wantCondition(d, miniv1.ConditionStalled, "True/ProgressDeadlineExceeded")
	w.wantCondition(d, miniv1.ConditionAvailable, "True/MinimumReplicasAvailable")

	w.edit(d, image("v3"))
	w.settle(d)
	w.wantRunning("v3:4@3")
	w.wantCondition(d, miniv1.ConditionStalled, "")
}

func TestPauseAndResume(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 4)
	w.settle(d)
	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.Paused = true })
	w.edit(d, image("v2"))
	w.edit(d, scale(6))
	w.settle(d)
	w.wantRunning("v1:6@1")
	w.wantCondition(d, miniv1.ConditionProgressing, "Unknown/DeploymentPaused")
	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.Paused = false })
	w.settle(d)
	w.wantRunning("v2:6@2")
	w.wantCondition(d, miniv1.ConditionProgressing, "True/NewReplicaSetAvailable")
}

// Paused in the middle, both revisions are scaled in proportion.
func TestPauseInTheMiddle(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 8, bounds("4", "0"))
	w.settle(d)
	w.edit(d, image("v2"))
	w.step(d)
	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.Paused = true })
	w.settle(d)
	w.wantRunning("v1:8@1 v2:4@2")
	w.edit(d, scale(2))
	w.settle(d)
	w.wantRunning("v1:4@1 v2:2@2")
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 2)
	w.settle(d)
	for _, name := range []string{"v2", "v3"} {
		w.edit(d, image(name))
		w.settle(d)
	}
	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.RollbackTo = &miniv1.RollbackConfig{Revision: 1} })
	spec := d.Spec.DeepCopy()
	w.settle(d)
	w.wantRunning("v1:2@4")
	if history := w.all()[2].Annotations[miniv1.RevisionHistoryAnnotation]; history != "1" {
		t.Errorf("history %q", history)
	}
	if d.Spec.Template.Spec.Containers[0].Image != "v3" || d.Spec.RollbackTo == nil || *d.Spec.Replicas != *spec.Replicas {
		t.Errorf("the spec was written: %+v", d.Spec)
	}
	w.wantCondition(d, miniv1.ConditionReady, "True/ReplicasReady")

	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.RollbackTo.Revision = 9 })
	w.settle(d)
	w.wantRunning("v1:2@4")
	w.wantCondition(d, miniv1.ConditionProgressing, "False/RollbackRevisionNotFound")
	w.wantCondition(d, miniv1.ConditionStalled, "True/RollbackRevisionNotFound")

	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.RollbackTo = nil })
	w.settle(d)
	w.wantRunning("v3:2@5")
}

func TestRecreate(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 3, func(d *miniv1.MiniDeployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType })
	w.settle(d)
	w.edit(d, image("v2"))
	for range 30 {
		moved := w.step(d)
		images := map[string]bool{}
		for _, pod := range w.pods() {
			images[pod.Spec.Containers[0].Image] = true
		}
		if len(images) > 1 {
			t.Fatalf("MiniPods of both images at one time: %v", images)
		}
		if !moved {
			break
		}
	}
	w.wantRunning("v2:3@2")
}

func TestHistoryLimit(t *testing.T) {
	w := newWorld(t)
	limit := int32(1)
	d := w.deployment("web", 1, func(d *miniv1.MiniDeployment) { d.Spec.RevisionHistoryLimit = &limit })
	for _, name := range []string{"v2", "v3", "v4"} {
		w.settle(d)
		w.edit(d, image(name))
	}
	w.settle(d)
	if got := len(w.all()); got != 2 {
		t.Errorf("%d sets are kept, want 2", got)
	}
}

// A set without an owner that has the template is taken over, MiniPods and all, and one whose labels no longer match goes.
func TestAdoptsAndReleases(t *testing.T) {
	w := newWorld(t)
	first := w.deployment("web", 2)
	w.settle(first)
	set := w.all()[0]
	orphan := metav1.DeletePropagationOrphan
	w.must(w.Delete(t.Context(), first, client.PropagationPolicy(orphan)))
	// No garbage collector runs here, which would do this:
	w.must(w.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`))))
	if _, err := w.pass(first); err != nil { // being deleted: it must not take the set back
		t.Fatal(err)
	}
	if w.read(set); len(set.OwnerReferences) > 0 {
		t.Fatal("taken back while being deleted")
	}
	w.must(w.Patch(t.Context(), first, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))

	second := w.deployment("web", 2)
	w.settle(second)
	w.read(set)
	if !metav1.IsControlledBy(set, second) || len(w.all()) != 1 || len(w.pods()) != 2 {
		t.Fatalf("%d sets, %d MiniPods, owners %v", len(w.all()), len(w.pods()), set.OwnerReferences)
	}

	w.must(w.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"aside"}}}`))))
	w.settle(second)
	w.read(set)
	if len(set.OwnerReferences) != 0 || len(w.all()) != 2 {
		t.Errorf("%d sets, owners %v", len(w.all()), set.OwnerReferences)
	}
}

// The name that follows from the template is another's: the next one is taken.
func TestNameCollision(t *testing.T) {
	w := newWorld(t)
	first := w.deployment("web", 1)
	w.settle(first)
	name := w.all()[0].Name
	w.must(w.Delete(t.Context(), first, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	second := w.deployment("web", 1)
	w.settle(second)
	if second.Status.CollisionCount == nil || *second.Status.CollisionCount != 1 {
		t.Errorf("collisions %v", second.Status.CollisionCount)
	}
	found := 0
	for _, set := range w.all() {
		if metav1.IsControlledBy(set, second) && set.Name != name {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d sets of the second one", found)
	}
}

func TestSelectorMismatch(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 2, func(d *miniv1.MiniDeployment) { d.Spec.Template.Metadata.Labels = map[string]string{"app": "wrong"} })
	w.settle(d)
	w.wantCondition(d, miniv1.ConditionStalled, "True/SelectorMismatch")
	w.wantCondition(d, miniv1.ConditionReplicaFailure, "")
	if c := meta.FindStatusCondition(d.Status.Conditions, miniv1.ConditionStalled); !strings.Contains(c.Message, "spec.template.metadata.labels") {
		t.Errorf("does not say what to do: %q", c.Message)
	}
	if len(w.all()) != 0 {
		t.Error("made a set")
	}
	w.edit(d, func(s *miniv1.MiniDeploymentSpec) { s.Template.Metadata.Labels = map[string]string{"app": "web"} })
	w.settle(d)
	w.wantRunning("v1:2@1")
	w.wantCondition(d, miniv1.ConditionStalled, "")
}

func TestUnreadableSelector(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 2, func(d *miniv1.MiniDeployment) {
		d.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Near"}}}
	})
	w.settle(d)
	w.wantCondition(d, miniv1.ConditionStalled, "True/SelectorMismatch")
}

// What a set is refused is seen on the MiniDeployment.
func TestReplicaFailureIsPassedOn(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 2)
	w.settle(d)
	set := w.all()[0]
	meta.SetStatusCondition(&set.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReplicaFailure, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonFailedCreate, Message: "exceeded quota"})
	w.must(w.Status().Update(t.Context(), set))
	_, err := w.pass(d)
	w.must(err)
	w.read(d)
	w.wantCondition(d, miniv1.ConditionReplicaFailure, "True/FailedCreate")
}

// A settled MiniDeployment costs no write.
func TestIdleWritesNothing(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 2)
	w.settle(d)
	breaking := &breaking{Client: fresh.Client(w.Client)}
	r := deployment.NewReconciler(breaking, w.Client, w.events, func() time.Time { return w.time })
	version := d.ResourceVersion
	for range 3 {
		_, err := r.Reconcile(t.Context(), request(d))
		w.must(err)
	}
	if w.read(d); d.ResourceVersion != version {
		t.Error("written")
	}
}
