package podworker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

var disrupted = metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue, Reason: "X", LastTransitionTime: metav1.NewTime(t0)}

// others change the conditions of MiniPod "a".
func (b *bench) others(change func(*[]metav1.Condition)) {
	b.t.Helper()
	pod := b.get("a")
	change(&pod.Status.Conditions)
	if err := b.api.Status().Update(b.t.Context(), pod); err != nil {
		b.t.Fatal(err)
	}
}

// behind gives a MiniPod that runs, whose worker knows an older version than the API server has: others changed its conditions since.
func behind(t *testing.T, before, since func(*[]metav1.Condition)) (*bench, *worker) {
	t.Helper()
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.others(before)
	known := b.get("a")
	w := b.pool.worker(known.UID)
	b.until("the worker knows", func() bool { return w.latest().ResourceVersion == known.ResourceVersion })
	b.kill() // the watch ends here
	b.others(since)
	return b, w
}

// publish writes that the MiniPod is not ready, as the publisher does: again after a conflict.
func publish(t *testing.T, w *worker) {
	t.Helper()
	want := w.latest().Status.DeepCopy()
	meta.SetStatusCondition(&want.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Mine"})
	err := w.publisher.write(t.Context(), want)
	if err == nil {
		return // an older way of writing does not ask which version is there
	}
	if !w.publisher.readAgain(t.Context()) {
		t.Fatal("nothing newer to read")
	}
	if err := w.publisher.write(t.Context(), want); err != nil {
		t.Fatal(err)
	}
}

func none(*[]metav1.Condition) {}

func TestConditionIsNotDropped(t *testing.T) {
	b, w := behind(t, none, func(c *[]metav1.Condition) { meta.SetStatusCondition(c, disrupted) })
	publish(t, w)
	got := b.get("a").Status.Conditions
	if meta.FindStatusCondition(got, miniv1.ConditionDisruptionTarget) == nil || meta.IsStatusConditionTrue(got, miniv1.ConditionReady) {
		t.Errorf("conditions %+v", got)
	}
}

func TestConditionIsNotRevived(t *testing.T) {
	b, w := behind(t, func(c *[]metav1.Condition) { meta.SetStatusCondition(c, disrupted) },
		func(c *[]metav1.Condition) { meta.RemoveStatusCondition(c, miniv1.ConditionDisruptionTarget) })
	publish(t, w)
	got := b.get("a").Status.Conditions
	if meta.FindStatusCondition(got, miniv1.ConditionDisruptionTarget) != nil || meta.IsStatusConditionTrue(got, miniv1.ConditionReady) {
		t.Errorf("conditions %+v", got)
	}
}

// What is not in the list of conditions is written without a version, whatever happened meanwhile.
func TestOtherStatusNeedsNoVersion(t *testing.T) {
	b, w := behind(t, none, func(c *[]metav1.Condition) { meta.SetStatusCondition(c, disrupted) })
	want := w.latest().Status.DeepCopy()
	want.Restarts = 7
	if err := w.publisher.write(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := b.get("a").Status; got.Restarts != 7 || meta.FindStatusCondition(got.Conditions, miniv1.ConditionDisruptionTarget) == nil {
		t.Errorf("status %+v", got)
	}
}

// A publisher hears of the conflict by itself.
func TestConflictIsMadeGood(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.others(func(c *[]metav1.Condition) { meta.SetStatusCondition(c, disrupted) })
	b.runtime.Reboot()
	b.until("it was restarted and still is a target", func() bool {
		got := b.get("a").Status
		return got.Restarts == 1 && meta.IsStatusConditionTrue(got.Conditions, miniv1.ConditionDisruptionTarget)
	})
}

// What is told in an Event is in the status by then, and what could not be stored is not told.
func TestEventsFollowTheStatus(t *testing.T) {
	b := newBench(t)
	b.create("a")
	w := b.pool.worker(b.shows("a", "Running").UID)
	b.kill()
	told := events.NewFakeRecorder(10)
	b.pool.Recorder = told
	want := w.latest().Status.DeepCopy()
	want.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: miniv1.ReasonCrashLoopBackOff}}
	b.setAway(true)
	if err := w.publisher.write(t.Context(), want); err == nil || len(told.Events) > 0 {
		t.Fatalf("%d Events, although the status was not stored: %v", len(told.Events), err)
	}
	b.setAway(false)
	if err := w.publisher.write(t.Context(), want); err != nil || len(told.Events) != 1 {
		t.Errorf("%d Events of one trouble, %v", len(told.Events), err)
	}
}
