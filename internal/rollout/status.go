package rollout

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// Result is what there is to say after a plan was carried out.
type Result struct {
	Observed
	Plan
	// Failure is what went wrong.
	Failure conditions.Failure
	// Selector is the selector as a string.
	Selector string
	// Now is the time of the pass.
	Now time.Time
}

// Status makes the status that follows the one in Observed.Deployment, and says after how long the progress deadline
// would pass; 0 when it does not run.
func Status(r Result) (miniv1.MiniDeploymentStatus, time.Duration) {
	before := &r.Deployment.Status
	after := *before.DeepCopy()
	after.ObservedGeneration = r.Deployment.Generation
	after.Selector = r.Selector
	r.count(&after)
	wake := r.progress(before, &after)
	r.setAvailable(&after)
	r.setReplicaFailure(&after)
	r.setReady(&after)
	return after, wake
}

func (r Result) count(status *miniv1.MiniDeploymentStatus) {
	spec := int32(0)
	status.Replicas, status.ReadyReplicas, status.AvailableReplicas, status.UpdatedReplicas = 0, 0, 0, 0
	for _, set := range r.Sets {
		spec += int32(specOf(set))
		status.Replicas += set.Status.Replicas
		status.ReadyReplicas += set.Status.ReadyReplicas
		status.AvailableReplicas += set.Status.AvailableReplicas
	}
	if r.New != nil {
		status.UpdatedReplicas = r.New.Status.Replicas
	}
	status.UnavailableReplicas = max(0, spec-status.AvailableReplicas)
	status.ReadySummary = fmt.Sprintf("%d/%d", status.ReadyReplicas, Wanted(r.Deployment))
}

// done tells whether the MiniDeployment is exactly what its spec asks for.
func (r Result) done(status *miniv1.MiniDeploymentStatus) bool {
	wanted := int32(Wanted(r.Deployment))
	return r.New != nil && status.UpdatedReplicas == wanted && status.Replicas == wanted &&
		status.AvailableReplicas == wanted && int32(specOf(r.New)) == wanted
}

func (r Result) setAvailable(status *miniv1.MiniDeploymentStatus) {
	_, unavailable := Bounds(r.Deployment)
	least := Wanted(r.Deployment) - unavailable
	enough := int(status.AvailableReplicas) >= least
	reason := miniv1.ReasonMinimumReplicasAvailable
	if !enough {
		reason = miniv1.ReasonMinimumReplicasUnavailable
	}
	r.set(status, miniv1.ConditionAvailable, conditions.Bool(enough), reason,
		fmt.Sprintf("%d MiniPods are available; the minimum is %d.", status.AvailableReplicas, least))
}

// setReplicaFailure shows what went wrong here, or else in a set, the new one first.
func (r Result) setReplicaFailure(status *miniv1.MiniDeploymentStatus) {
	failure := r.Failure
	if failure.Reason == miniv1.ReasonSelectorMismatch {
		failure = conditions.Failure{}
	}
	for _, set := range append([]*miniv1.MiniReplicaSet{r.New}, r.Sets...) {
		if failure.Reason != "" || set == nil {
			continue
		}
		if c := meta.FindStatusCondition(set.Status.Conditions, miniv1.ConditionReplicaFailure); c != nil && c.Status == metav1.ConditionTrue {
			failure = conditions.Failure{Reason: c.Reason, Message: c.Message}
		}
	}
	if failure.Reason == "" {
		conditions.Remove(&status.Conditions, miniv1.ConditionReplicaFailure)
		return
	}
	r.set(status, miniv1.ConditionReplicaFailure, metav1.ConditionTrue, failure.Reason, failure.Message)
}

// setReady derives Ready, Stalled and Reconciling, which generic tools look at, from the conditions set before. Exactly one
// of the three is true.
func (r Result) setReady(status *miniv1.MiniDeploymentStatus) {
	done, stall := r.done(status), r.stall(status)
	message := fmt.Sprintf("%d of %d MiniPods run the wanted template, %d of all are available.",
		status.UpdatedReplicas, Wanted(r.Deployment), status.AvailableReplicas)
	reason := miniv1.ReasonReplicasReady
	if !done {
		reason = miniv1.ReasonReplicasNotReady
	}
	r.set(status, miniv1.ConditionReady, conditions.Bool(done && stall == nil), reason, message)

	switch progressing := meta.FindStatusCondition(status.Conditions, miniv1.ConditionProgressing); {
	case stall != nil:
		r.set(status, miniv1.ConditionStalled, metav1.ConditionTrue, stall.Reason, stall.Message)
		conditions.Remove(&status.Conditions, miniv1.ConditionReconciling)
	case !done:
		if progressing.Reason != miniv1.ReasonNewReplicaSetAvailable {
			reason, message = progressing.Reason, progressing.Message
		}
		r.set(status, miniv1.ConditionReconciling, metav1.ConditionTrue, reason, message)
		conditions.Remove(&status.Conditions, miniv1.ConditionStalled)
	default:
		conditions.Remove(&status.Conditions, miniv1.ConditionReconciling)
		conditions.Remove(&status.Conditions, miniv1.ConditionStalled)
	}
}

// stall is the reason why nothing more will happen without the user; nil when something will.
func (r Result) stall(status *miniv1.MiniDeploymentStatus) *conditions.Failure {
	if r.Failure.Final {
		return &r.Failure
	}
	progressing := meta.FindStatusCondition(status.Conditions, miniv1.ConditionProgressing)
	switch progressing.Reason {
	case miniv1.ReasonRollbackRevisionNotFound, miniv1.ReasonProgressDeadlineExceeded:
		return &conditions.Failure{Reason: progressing.Reason, Message: progressing.Message}
	}
	return nil
}

func (r Result) set(status *miniv1.MiniDeploymentStatus, kind string, truth metav1.ConditionStatus, reason, message string) {
	conditions.Set(&status.Conditions, metav1.Condition{
		Type: kind, Status: truth, Reason: reason, Message: message,
		ObservedGeneration: r.Deployment.Generation, LastTransitionTime: metav1.NewTime(r.Now),
	})
}

// oldLeft describes, for a message, what of the earlier revisions is there yet.
func oldLeft(status *miniv1.MiniDeploymentStatus) string {
	if old := status.Replicas - status.UpdatedReplicas; old > 0 {
		return fmt.Sprintf(", %d old ones left", old)
	}
	return ""
}
