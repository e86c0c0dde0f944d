package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/rollout"
)

// status is the status after one more pass of the planner that carries nothing out.
func (s *sim) status(failure conditions.Failure) (miniv1.MiniDeploymentStatus, time.Duration) {
	return rollout.Status(rollout.Result{Observed: s.observe(), Plan: rollout.Make(s.observe()), Failure: failure,
		Selector: "app=web", Now: s.now})
}

// truths are the conditions in short: type=status/reason.
func truths(status miniv1.MiniDeploymentStatus) map[string]string {
	out := map[string]string{}
	for _, c := range status.Conditions {
		out[c.Type] = string(c.Status) + "/" + c.Reason
	}
	return out
}

func want(t *testing.T, status miniv1.MiniDeploymentStatus, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, truths(status)); diff != "" {
		t.Errorf("conditions (-want,+got):\n%s", diff)
	}
}

func TestProgressDeadline(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	deadline := int32(60)
	s.deployment.Spec.ProgressDeadlineSeconds = &deadline
	s.broken["v2"] = true
	s.image("v2")
	s.run()

	moved := s.deployment.Status.LastProgressTime
	s.now = moved.Add(59 * time.Second)
	status, wake := s.status(conditions.Failure{})
	if wake != time.Second || truths(status)["Progressing"] != "True/ReplicaSetUpdated" {
		t.Errorf("1 s before the deadline: wake %v, %v", wake, truths(status))
	}

	s.now = moved.Add(60 * time.Second)
	status, wake = s.status(conditions.Failure{})
	want(t, status, map[string]string{"Progressing": "False/ProgressDeadlineExceeded", "Available": "True/MinimumReplicasAvailable",
		"Ready": "False/ReplicasNotReady", "Stalled": "True/ProgressDeadlineExceeded"})
	if wake != 0 {
		t.Errorf("wakes after %v for nothing", wake)
	}

	// It stays so until something moves; a new template is a new rollout.
	s.deployment.Status = status
	s.now = s.now.Add(time.Hour)
	if again, _ := s.status(conditions.Failure{}); !cmp.Equal(again, status) {
		t.Errorf("changes by itself (-before,+after):\n%s", cmp.Diff(status, again))
	}
	s.broken = map[string]bool{}
	s.run()
	if got := truths(s.deployment.Status)["Progressing"]; got != "True/NewReplicaSetAvailable" {
		t.Errorf("healed: %v", got)
	}
}

// Going back to the earlier template after a timeout restarts the clock at once, though no count has changed yet.
func TestDeadlineRestartsWithTheSpec(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	s.broken["v2"] = true
	s.image("v2")
	s.run()
	s.now = s.now.Add(time.Hour)
	s.stepDeployment()
	if got := truths(s.deployment.Status)["Progressing"]; got != "False/ProgressDeadlineExceeded" {
		t.Fatalf("not timed out: %v", got)
	}
	s.image("v1")
	status, wake := s.status(conditions.Failure{})
	if got := truths(status)["Progressing"]; got != "True/ReplicaSetUpdated" || wake != 600*time.Second {
		t.Errorf("got %v, wake %v", got, wake)
	}
}

func TestConditionsOfAFirstPass(t *testing.T) {
	s := newSim(t, 2)
	status, wake := s.status(conditions.Failure{})
	want(t, status, map[string]string{"Progressing": "True/NewReplicaSetCreated", "Available": "False/MinimumReplicasUnavailable",
		"Ready": "False/ReplicasNotReady", "Reconciling": "True/NewReplicaSetCreated"})
	if wake != 600*time.Second || status.ReadySummary != "0/2" || status.Selector != "app=web" || status.ObservedGeneration != 1 {
		t.Errorf("wake %v, status %+v", wake, status)
	}
}

func TestFailures(t *testing.T) {
	refused := conditions.Failure{Reason: miniv1.ReasonFailedCreate, Message: "exceeded quota"}
	s := newSim(t, 2)
	status, _ := s.status(refused)
	want(t, status, map[string]string{"Progressing": "False/FailedCreate", "Available": "False/MinimumReplicasUnavailable",
		"Ready": "False/ReplicasNotReady", "Reconciling": "True/FailedCreate", "ReplicaFailure": "True/FailedCreate"})

	refused.Final = true
	status, _ = s.status(refused)
	if got := truths(status); got["Stalled"] != "True/FailedCreate" || got["Reconciling"] != "" {
		t.Errorf("a final failure gives %v", got)
	}

	status, _ = s.status(conditions.Failure{Reason: miniv1.ReasonSelectorMismatch, Message: "…", Final: true})
	want(t, status, map[string]string{"Progressing": "False/SelectorMismatch", "Available": "False/MinimumReplicasUnavailable",
		"Ready": "False/ReplicasNotReady", "Stalled": "True/SelectorMismatch"})
}

// What a set cannot do is shown, that of the new set first, and taken away again.
func TestFailureOfASet(t *testing.T) {
	s := newSim(t, 2)
	s.run()
	meta.SetStatusCondition(&s.sets[0].Status.Conditions, metav1.Condition{Type: miniv1.ConditionReplicaFailure,
		Status: metav1.ConditionTrue, Reason: miniv1.ReasonFailedCreate, Message: "exceeded quota"})
	status, _ := s.status(conditions.Failure{})
	failure := meta.FindStatusCondition(status.Conditions, miniv1.ConditionReplicaFailure)
	if failure == nil || failure.Message != "exceeded quota" {
		t.Fatalf("got %+v", failure)
	}
	s.deployment.Status = status
	meta.RemoveStatusCondition(&s.sets[0].Status.Conditions, miniv1.ConditionReplicaFailure)
	if status, _ = s.status(conditions.Failure{}); truths(status)["ReplicaFailure"] != "" {
		t.Errorf("stays: %v", truths(status))
	}
}

// A MiniPod that fails after the rollout is complete makes it not ready, but starts no deadline.
func TestCompleteStaysComplete(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	s.sets[0].Status.ReadyReplicas, s.sets[0].Status.AvailableReplicas = 1, 1
	s.now = s.now.Add(time.Hour)
	status, wake := s.status(conditions.Failure{})
	want(t, status, map[string]string{"Progressing": "True/NewReplicaSetAvailable", "Available": "False/MinimumReplicasUnavailable",
		"Ready": "False/ReplicasNotReady", "Reconciling": "True/ReplicasNotReady"})
	if wake != 0 || status.UnavailableReplicas != 3 {
		t.Errorf("wake %v, %d unavailable", wake, status.UnavailableReplicas)
	}
}

func TestResumed(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	s.broken["v2"] = true
	for _, edit := range []func(*sim){image("v2"), pause(true)} {
		edit(s)
		s.run()
	}
	pause(false)(s)
	s.now = s.now.Add(time.Hour)
	status, wake := s.status(conditions.Failure{})
	if got := truths(status)["Progressing"]; got != "Unknown/DeploymentResumed" || wake != 600*time.Second {
		t.Errorf("got %v, wake %v", got, wake)
	}
}

// While one set takes over from another there may be no new set yet, with the strategy Recreate.
func TestRecreateSaysWhatIsLeft(t *testing.T) {
	s := newSim(t, 3)
	recreate(s)
	s.run()
	s.image("v2")
	s.stepDeployment()
	progressing := meta.FindStatusCondition(s.deployment.Status.Conditions, miniv1.ConditionProgressing)
	if want := `MiniDeployment "web" is progressing, 3 old ones left.`; progressing.Message != want {
		t.Errorf("got %q, want %q", progressing.Message, want)
	}
	s.now = s.now.Add(time.Hour)
	status, _ := s.status(conditions.Failure{})
	if got := truths(status)["Progressing"]; got != "False/ProgressDeadlineExceeded" {
		t.Errorf("after an hour: %v", got)
	}
}
