package replicaset

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// report tells, once the status is stored, of a failure that is new. There are no Events of single MiniPods.
func (r *Reconciler) report(before, after *miniv1.MiniReplicaSet) {
	is := meta.FindStatusCondition(after.Status.Conditions, miniv1.ConditionReplicaFailure)
	was := meta.FindStatusCondition(before.Status.Conditions, miniv1.ConditionReplicaFailure)
	if is == nil || was != nil && was.Reason == is.Reason {
		return
	}
	action := "CreateMiniPod"
	if is.Reason == miniv1.ReasonFailedDelete {
		action = "DeleteMiniPod"
	}
	r.events.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, action, "%s", conditions.Note(is.Message))
}
