package nodelife

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// MarkLost makes a MiniPod's status say that nothing is known of it any more, and when it will be deleted. Only the
// conditions Ready and DisruptionTarget and the summary change, so that Unmark can take it back.
func MarkLost(pod *miniv1.MiniPod, health Health, wait time.Duration) {
	pod.Status.Summary = miniv1.ReasonNodeLost
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse,
		Reason: miniv1.ReasonNodeLost, ObservedGeneration: pod.Generation,
		Message: fmt.Sprintf("the agent of node %s has not renewed its heartbeat since %s", pod.Status.NodeName, stamp(health.LastSeen))})
	patience, forever := tolerates(pod, wait)
	if forever {
		return
	}
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonDeletionByNodeController, ObservedGeneration: pod.Generation,
		Message: fmt.Sprintf("deleted at %s unless node %s comes back", stamp(health.LostAt.Add(patience)), pod.Status.NodeName)})
}

// Unmark takes back what MarkLost said. Ready becomes what the agent last said of the containers; the agent's next status
// corrects what changed meanwhile.
func Unmark(pod *miniv1.MiniPod) {
	ready := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: miniv1.ReasonContainersNotReady,
		ObservedGeneration: pod.Generation}
	if containers := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionContainersReady); containers != nil {
		ready.Status, ready.Reason, ready.Message = containers.Status, containers.Reason, containers.Message
	}
	conditions.Set(&pod.Status.Conditions, ready)
	disruption := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionDisruptionTarget)
	if disruption != nil && disruption.Reason == miniv1.ReasonDeletionByNodeController {
		conditions.Remove(&pod.Status.Conditions, miniv1.ConditionDisruptionTarget)
	}
	if pod.Status.Summary == miniv1.ReasonNodeLost {
		pod.Status.Summary = string(pod.Status.Phase)
	}
}

func isMarked(pod *miniv1.MiniPod) bool {
	ready := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionReady)
	return ready != nil && ready.Reason == miniv1.ReasonNodeLost
}

// tolerates tells how long a MiniPod is left on a lost node: the wait of the cluster, or what its tolerations of the taint
// node.kubernetes.io/unreachable:NoExecute say, the shortest of them.
func tolerates(pod *miniv1.MiniPod, wait time.Duration) (patience time.Duration, forever bool) {
	patience, found := wait, false
	for _, toleration := range pod.Spec.Tolerations {
		if !matchesUnreachable(toleration) {
			continue
		}
		if toleration.TolerationSeconds == nil {
			forever = forever || !found
			continue
		}
		seconds := time.Duration(max(0, *toleration.TolerationSeconds)) * time.Second
		if !found || seconds < patience {
			patience = seconds
		}
		found, forever = true, false
	}
	return patience, forever
}

func matchesUnreachable(t miniv1.Toleration) bool {
	if t.Effect != "" && t.Effect != corev1.TaintEffectNoExecute {
		return false
	}
	if t.Key == "" {
		return t.Operator == corev1.TolerationOpExists
	}
	return t.Key == corev1.TaintNodeUnreachable && (t.Operator == corev1.TolerationOpExists || t.Value == "")
}
