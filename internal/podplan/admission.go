package podplan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/podstate"
)

// Unjudged tells whether somebody has to say if the MiniPod may run: nothing was made of it yet, or one of its containers has another
// image than it should. As in Kubernetes, a MiniPod is judged when it comes and when an image changes. What was let in before runs
// on, and is started again, when its namespace becomes stricter.
func (o *Observation) Unjudged(pod *miniv1.MiniPod) bool {
	if pod == nil || podstate.IsDeleting(pod) || podstate.IsFinished(pod) {
		return false
	}
	if len(o.Containers) == 0 {
		return true
	}
	for _, c := range pod.Spec.AllContainers() {
		if history := o.history(c.Name); len(history) > 0 && history[0].ofOtherSpec(c) {
			return true
		}
	}
	return false
}

// refuses tells whether the container must not be made, or made anew, from its spec.
func (o *Observation) refuses(c *miniv1.Container) bool {
	if o.Refusal == nil {
		return false
	}
	history := o.history(c.Name)
	return len(history) == 0 || history[0].ofOtherSpec(c)
}

// undecided tells whether nobody knows yet if the MiniPod may run. The news about a namespace may be a little behind those about
// its MiniPods; that is worth no write.
func (o *Observation) undecided() bool {
	return o.Refusal != nil && o.Refusal.Reason == miniv1.ReasonPodSecurityUnknown
}

// setAdmission says that the MiniPod, or its new image, is refused; there is no such condition when it is not.
func setAdmission(pod *miniv1.MiniPod, status *miniv1.MiniPodStatus, refusal *podsecurity.Refusal, now time.Time) {
	if refusal == nil {
		conditions.Remove(&status.Conditions, miniv1.ConditionAdmitted)
		return
	}
	conditions.Set(&status.Conditions, metav1.Condition{Type: miniv1.ConditionAdmitted, Status: metav1.ConditionFalse,
		Reason: refusal.Reason, Message: refusal.Message, ObservedGeneration: pod.Generation, LastTransitionTime: *seconds(now)})
}
