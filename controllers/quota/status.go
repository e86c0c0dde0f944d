package quota

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/quota"
)

// maxSummary is what the API accepts.
const maxSummary = 4096

// fill writes what was seen into the status.
func (seen *observed) fill(mq *miniv1.MiniQuota) {
	mq.Status.ObservedGeneration = mq.Generation
	mq.Status.Hard = mq.Spec.Hard.DeepCopy()
	for _, key := range seen.unknown {
		delete(mq.Status.Hard, corev1.ResourceName(key))
	}
	mq.Status.Used = seen.used
	mq.Status.WaitingPods = seen.waiting
	summary := quota.Summary(mq.Status.Hard, seen.used)
	mq.Status.UsedSummary = conditions.Clip(summary, maxSummary)
	ready := seen.ready(mq)
	ready.ObservedGeneration = mq.Generation
	conditions.Set(&mq.Status.Conditions, ready)
}

// ready is the Ready condition: whether everything the quota says is enforced.
func (seen *observed) ready(mq *miniv1.MiniQuota) metav1.Condition {
	c := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonWithinLimits,
		Message: "all limits are enforced, and there is room"}
	full := quota.AtLimit(mq.Spec.Hard, seen.used)
	switch {
	case len(seen.unknown) > 0:
		c.Status, c.Reason = metav1.ConditionFalse, miniv1.ReasonUnknownKey
		c.Message = fmt.Sprintf("spec.hard has keys that mean nothing: %s. Use cpu, memory, requests.cpu, requests.memory, limits.cpu, "+
			"limits.memory or count/<resource>.<group>", strings.Join(seen.unknown, ", "))
	case seen.native != nil:
		c.Status, c.Reason = metav1.ConditionFalse, miniv1.ReasonFailedCreate
		c.Message = "object counts are not enforced: " + seen.native.Error()
	case len(full) > 0 || seen.waiting > 0:
		c.Reason, c.Message = miniv1.ReasonAtLimit, "all limits are enforced"
		if len(full) > 0 {
			c.Message += "; used up: " + strings.Join(full, ", ")
		}
		if seen.waiting > 0 {
			c.Message += fmt.Sprintf("; %d MiniPods wait", seen.waiting)
		}
	}
	return c
}
