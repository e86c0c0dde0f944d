package nodelife

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
)

// MarkLost makes a MiniPod's status say that nothing is known of it any more, and when it will be deleted. Only the
// conditions Ready and DisruptionTarget and the summary change, so that Unmark can take it back.
func MarkLost(pod *miniv1.MiniPod, life Life, policy Policy) {
	pod.Status.Summary = miniv1.ReasonNodeLost
	message := fmt.Sprintf("node %s and its agent have not renewed their heartbeats since %s", pod.Status.NodeName, stamp(life.LastSeen()))
	switch life.State {
	case Restarted:
		message = fmt.Sprintf("the machine of node %s was started again, and its agent has not renewed its heartbeat since %s", pod.Status.NodeName, stamp(life.Agent.LastSeen))
	case Absent:
		message = fmt.Sprintf("the agent of node %s has not renewed its heartbeat since %s", pod.Status.NodeName, stamp(life.Agent.LastSeen))
	}
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse,
		Reason: miniv1.ReasonNodeLost, ObservedGeneration: pod.Generation, Message: message})
	at, never := policy.deadline(pod, life)
	if never {
		return
	}
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonDeletionByNodeController, ObservedGeneration: pod.Generation,
		Message: fmt.Sprintf("deleted from %s on unless node %s comes back", stamp(at), pod.Status.NodeName)})
}

// Unmark takes back what MarkLost said. Ready becomes what the agent last said of the containers; the agent's next status
// corrects what changed meanwhile.
func Unmark(pod *miniv1.MiniPod) {
	if saysLost(pod) {
		ready := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: miniv1.ReasonContainersNotReady,
			ObservedGeneration: pod.Generation}
		if containers := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionContainersReady); containers != nil {
			ready.Status, ready.Reason, ready.Message = containers.Status, containers.Reason, containers.Message
		}
		conditions.Set(&pod.Status.Conditions, ready)
	}
	if isTarget(pod) {
		conditions.Remove(&pod.Status.Conditions, miniv1.ConditionDisruptionTarget)
	}
	if pod.Status.Summary == miniv1.ReasonNodeLost {
		pod.Status.Summary = string(pod.Status.Phase)
	}
}

// Discharge makes a MiniPod's status say that it no longer counts in the quota of its namespace.
func Discharge(pod *miniv1.MiniPod) {
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionQuotaReleased, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonNodeLost, ObservedGeneration: pod.Generation,
		Message: fmt.Sprintf("its grace period is over and node %s is silent; its room on the node stays taken until the node comes back or is deleted", pod.Status.NodeName)})
}

// Recharge takes back what Discharge said.
func Recharge(pod *miniv1.MiniPod) {
	conditions.Remove(&pod.Status.Conditions, miniv1.ConditionQuotaReleased)
}

func isDischarged(pod *miniv1.MiniPod) bool {
	return podstate.HoldsRoom(pod) && !podstate.HoldsQuota(pod)
}

// isMarked tells whether a part of what MarkLost says is there: the agent may have written over the other.
func isMarked(pod *miniv1.MiniPod) bool { return saysLost(pod) || isTarget(pod) }

func saysLost(pod *miniv1.MiniPod) bool {
	ready := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionReady)
	return ready != nil && ready.Reason == miniv1.ReasonNodeLost
}

func isTarget(pod *miniv1.MiniPod) bool {
	target := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionDisruptionTarget)
	return target != nil && target.Reason == miniv1.ReasonDeletionByNodeController
}
