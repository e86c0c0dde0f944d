// Package podstate answers questions about one MiniPod's status, so that every component answers them alike.
package podstate

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// IsBound tells whether the scheduler gave the MiniPod a node.
func IsBound(pod *miniv1.MiniPod) bool { return pod.Status.NodeName != "" }

// IsFinished tells whether the MiniPod ran to its end and will not run again.
func IsFinished(pod *miniv1.MiniPod) bool {
	return pod.Status.Phase == miniv1.PodSucceeded || pod.Status.Phase == miniv1.PodFailed
}

// IsDeleting tells whether somebody asked for the MiniPod's deletion.
func IsDeleting(pod *miniv1.MiniPod) bool { return pod.DeletionTimestamp != nil }

// IsActive tells whether the MiniPod counts as a replica: it has not ended and is not being deleted.
func IsActive(pod *miniv1.MiniPod) bool { return !IsFinished(pod) && !IsDeleting(pod) }

// HoldsRoom tells whether the MiniPod takes room on its node: from the binding until the agent has proven, by removing its
// finalizer, that nothing is left, or until the containers ended for good.
func HoldsRoom(pod *miniv1.MiniPod) bool { return MayBeThere(pod) && !IsFinished(pod) }

// MayBeThere tells whether something of the MiniPod may be on its node. An agent that has taken its finalizer off one that is being deleted
// has proven that nothing is, whatever other finalizers keep the object.
func MayBeThere(pod *miniv1.MiniPod) bool {
	return IsBound(pod) && (!IsDeleting(pod) || slices.Contains(pod.Finalizers, miniv1.AgentFinalizer))
}

// HoldsQuota tells whether the MiniPod counts in the quota of its namespace: while it holds room, except that nobody is made to
// wait for a node that does not answer. The node controller says so of a MiniPod that should have ended long ago, on a node that
// is given up: its replacement can have the quota, though not the room.
func HoldsQuota(pod *miniv1.MiniPod) bool {
	released := IsDeleting(pod) && meta.IsStatusConditionTrue(pod.Status.Conditions, miniv1.ConditionQuotaReleased)
	return HoldsRoom(pod) && !released
}

// IsReady tells whether the MiniPod can serve.
func IsReady(pod *miniv1.MiniPod) bool {
	return meta.IsStatusConditionTrue(pod.Status.Conditions, miniv1.ConditionReady)
}

// IsAvailable tells whether the MiniPod has been ready for minReady. When it is ready but not yet for long enough, wait
// is how long it takes until it is.
func IsAvailable(pod *miniv1.MiniPod, minReady time.Duration, now time.Time) (available bool, wait time.Duration) {
	ready := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue {
		return false, 0
	}
	left := ready.LastTransitionTime.Add(minReady).Sub(now)
	if minReady > 0 && left > 0 {
		return false, left
	}
	return true, 0
}
