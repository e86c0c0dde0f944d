package daemonset

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonplan"
)

// report tells, once the status is stored, of a failure that is new, and of MiniPods that ended and are replaced, with native words. There are no other
// Events of single MiniPods.
func (r *Reconciler) report(before *miniv1.MiniDaemonSet, s *scope) {
	for _, pod := range s.ended {
		if pod.Status.Phase == miniv1.PodFailed {
			r.events.Eventf(s.set, pod, corev1.EventTypeWarning, "FailedDaemonPod", "DeleteMiniPod",
				"Found failed MiniPod %s on node %s, will try to replace it", pod.Name, daemonplan.NodeOf(pod))
			continue
		}
		r.events.Eventf(s.set, pod, corev1.EventTypeNormal, "SucceededDaemonPod", "DeleteMiniPod",
			"Found succeeded MiniPod %s on node %s, will try to replace it", pod.Name, daemonplan.NodeOf(pod))
	}
	is := meta.FindStatusCondition(s.set.Status.Conditions, miniv1.ConditionReplicaFailure)
	was := meta.FindStatusCondition(before.Status.Conditions, miniv1.ConditionReplicaFailure)
	if is == nil || was != nil && was.Reason == is.Reason {
		return
	}
	action := "CreateMiniPod"
	if is.Reason == miniv1.ReasonFailedDelete {
		action = "DeleteMiniPod"
	}
	r.events.Eventf(s.set, nil, corev1.EventTypeWarning, is.Reason, action, "%s", conditions.Note(is.Message))
}
