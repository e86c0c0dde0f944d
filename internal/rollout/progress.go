package rollout

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// defaultDeadline is how many seconds a rollout may stand still when progressDeadlineSeconds is not given.
const defaultDeadline = 600

// progress sets the condition Progressing, with native reasons, and the time of the last progress. It returns after how
// long the deadline would pass; 0 when it does not run.
//
// A rollout that was completed once stays complete, whatever happens to its MiniPods, until another is started: the
// deadline is for rollouts, not for MiniPods that fail later.
func (r Result) progress(before, after *miniv1.MiniDeploymentStatus) time.Duration {
	was := meta.FindStatusCondition(before.Conditions, miniv1.ConditionProgressing)
	if was == nil {
		was = &metav1.Condition{}
	}
	left := r.deadline(before)
	switch {
	case r.RollbackMissing:
		r.set(after, miniv1.ConditionProgressing, metav1.ConditionFalse, miniv1.ReasonRollbackRevisionNotFound, r.missing())
		return 0
	case r.Deployment.Spec.Paused:
		r.set(after, miniv1.ConditionProgressing, metav1.ConditionUnknown, miniv1.ReasonDeploymentPaused,
			"MiniDeployment is paused: it can be scaled, and rolls nothing out until spec.paused is false.")
		return 0
	case r.done(after), was.Reason == miniv1.ReasonNewReplicaSetAvailable && r.nothingOld(after):
		r.set(after, miniv1.ConditionProgressing, metav1.ConditionTrue, miniv1.ReasonNewReplicaSetAvailable,
			fmt.Sprintf("MiniReplicaSet %q has successfully progressed.", r.New.Name))
		return 0
	case r.Failure.Reason != "":
		r.set(after, miniv1.ConditionProgressing, metav1.ConditionFalse, r.Failure.Reason, r.Failure.Message)
		return 0
	case r.Create != nil:
		return r.moved(after, metav1.ConditionTrue, miniv1.ReasonNewReplicaSetCreated,
			fmt.Sprintf("Created new MiniReplicaSet %q.", r.Create.Name))
	case was.Reason == miniv1.ReasonDeploymentPaused:
		return r.moved(after, metav1.ConditionUnknown, miniv1.ReasonDeploymentResumed, "MiniDeployment is resumed.")
	case r.restarts(was) || advanced(before, after):
		return r.moved(after, metav1.ConditionTrue, miniv1.ReasonReplicaSetUpdated, r.describeProgress(after))
	case left <= 0:
		r.set(after, miniv1.ConditionProgressing, metav1.ConditionFalse, miniv1.ReasonProgressDeadlineExceeded, r.timedOut(after))
		return 0
	default:
		return left
	}
}

// moved notes progress, from which the deadline counts anew.
func (r Result) moved(after *miniv1.MiniDeploymentStatus, truth metav1.ConditionStatus, reason, message string) time.Duration {
	r.set(after, miniv1.ConditionProgressing, truth, reason, message)
	now := metav1.NewTime(r.Now)
	after.LastProgressTime = &now
	return r.allowed()
}

// restarts tells whether a rollout that is not complete must have begun, or gone on, since Progressing was what it was.
func (r Result) restarts(was *metav1.Condition) bool {
	switch was.Reason {
	case miniv1.ReasonProgressDeadlineExceeded:
		return was.ObservedGeneration != r.Deployment.Generation
	case miniv1.ReasonNewReplicaSetCreated, miniv1.ReasonReplicaSetUpdated, miniv1.ReasonDeploymentResumed:
		return false
	}
	return true
}

// advanced tells whether more MiniPods are new, ready or available than before, or fewer are old.
func advanced(before, after *miniv1.MiniDeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

func (r Result) nothingOld(status *miniv1.MiniDeploymentStatus) bool {
	return r.New != nil && r.Create == nil && status.Replicas == status.UpdatedReplicas
}

// allowed is how long the rollout may stand still, and deadline how much of that is left.
func (r Result) allowed() time.Duration {
	seconds := int32(defaultDeadline)
	if given := r.Deployment.Spec.ProgressDeadlineSeconds; given != nil {
		seconds = *given
	}
	return time.Duration(seconds) * time.Second
}

func (r Result) deadline(before *miniv1.MiniDeploymentStatus) time.Duration {
	if before.LastProgressTime == nil {
		return r.allowed()
	}
	return before.LastProgressTime.Add(r.allowed()).Sub(r.Now)
}

func (r Result) name() string {
	if r.New == nil {
		return ""
	}
	return r.New.Name
}

func (r Result) describeProgress(status *miniv1.MiniDeploymentStatus) string {
	if r.New == nil {
		return fmt.Sprintf("MiniDeployment %q is progressing%s.", r.Deployment.Name, oldLeft(status))
	}
	return fmt.Sprintf("MiniReplicaSet %q is progressing: %d of %d new MiniPods available%s.",
		r.New.Name, r.New.Status.AvailableReplicas, Wanted(r.Deployment), oldLeft(status))
}

func (r Result) timedOut(status *miniv1.MiniDeploymentStatus) string {
	available := int32(0)
	if r.New != nil {
		available = r.New.Status.AvailableReplicas
	}
	return fmt.Sprintf("MiniReplicaSet %q has timed out progressing: nothing changed for %d s, %d of %d new MiniPods are available%s. "+
		"Look at them (kubectl get minipods -l %s), then correct spec.template or set spec.rollbackTo.",
		r.name(), int(r.allowed().Seconds()), available, Wanted(r.Deployment), oldLeft(status), r.Selector)
}

func (r Result) missing() string {
	return fmt.Sprintf("no kept MiniReplicaSet has revision %d. Set spec.rollbackTo.revision to one of those that "+
		"kubectl get minireplicasets -l %s shows in the annotation %s, or remove spec.rollbackTo.",
		r.Deployment.Spec.RollbackTo.Revision, r.Selector, miniv1.RevisionAnnotation)
}
