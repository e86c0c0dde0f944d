package heartbeat

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/fabric"
)

// setPeers says what is known of the network between the nodes, and whether others can ask this one. Where nothing is known, what was said
// stays: an agent that has just begun knows less than the one before it.
func (h *Heart) setPeers(node *miniv1.MiniNode, status *miniv1.MiniNodeStatus) {
	status.NodeInfo.AnswersEchoes = node.Status.NodeInfo.AnswersEchoes
	if h.Fabric == nil {
		return
	}
	view := h.Fabric()
	if view == nil {
		return
	}
	status.NodeInfo.AnswersEchoes = ""
	if view.AnswersEchoes {
		status.NodeInfo.AnswersEchoes = h.Info.AgentVersion
	}
	condition, says := view.Verdict.Condition(h.VXLANPort)
	switch says {
	case fabric.SaysNone:
		meta.RemoveStatusCondition(&status.Conditions, condition.Type)
	case fabric.SaysCondition:
		condition.ObservedGeneration, condition.LastTransitionTime = node.Generation, metav1.NewTime(h.Clock.Now())
		conditions.Set(&status.Conditions, condition)
	}
}

// tellPeers tells people that packets to other nodes get lost, or no longer do, when that is stored.
func (h *Heart) tellPeers(before, after *miniv1.MiniNode) {
	was := meta.IsStatusConditionTrue(before.Status.Conditions, miniv1.ConditionPeersUnreachable)
	now := meta.FindStatusCondition(after.Status.Conditions, miniv1.ConditionPeersUnreachable)
	switch is := now != nil && now.Status == metav1.ConditionTrue; {
	case h.Recorder == nil || was == is:
	case is:
		h.Recorder.Eventf(after, nil, corev1.EventTypeWarning, now.Reason, "AskPeers", "%s", conditions.Note(now.Message))
	case now != nil && now.Status == metav1.ConditionFalse:
		h.Recorder.Eventf(after, nil, corev1.EventTypeNormal, now.Reason, "AskPeers", "%s", conditions.Note(now.Message))
	}
}
