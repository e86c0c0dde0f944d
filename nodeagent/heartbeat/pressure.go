package heartbeat

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The lane is short of processes from pressureFrom hundredths of its limit on, until it is back at pressureUntil: a node that is at
// the edge does not change its mind, and its status, with every process.
const (
	pressureFrom, pressureUntil = 90, 75
)

// underPressure decides whether the lane is short, knowing whether it was.
func underPressure(was bool, used, most int64) bool {
	if was {
		return used > most*pressureUntil/100
	}
	return used >= most*pressureFrom/100
}

// pidPressure is the condition of the MiniNode that says whether there are processes left to start; false where that is not known.
// The message has no number that changes all the time, because each change is a write.
func (h *Heart) pidPressure(node *miniv1.MiniNode) (metav1.Condition, bool) {
	if h.PIDs == nil || h.MaxPIDs <= 0 {
		return metav1.Condition{}, false
	}
	used, err := h.PIDs()
	if err != nil {
		return metav1.Condition{}, false
	}
	lanePIDs.Set(float64(used))
	laneMaxPIDs.Set(float64(h.MaxPIDs))
	out := metav1.Condition{
		Type: miniv1.ConditionPIDPressure, Status: metav1.ConditionFalse, Reason: miniv1.ReasonSufficientPIDs,
		Message:            fmt.Sprintf("MiniPods can have %d processes and threads together", h.MaxPIDs),
		ObservedGeneration: node.Generation, LastTransitionTime: metav1.NewTime(h.Clock.Now()),
	}
	if underPressure(meta.IsStatusConditionTrue(node.Status.Conditions, miniv1.ConditionPIDPressure), used, h.MaxPIDs) {
		out.Status, out.Reason = metav1.ConditionTrue, miniv1.ReasonInsufficientPIDs
		out.Message = fmt.Sprintf("MiniPods use nearly all of the %d processes and threads that they can have together (--pids); "+
			"nothing is scheduled here until they use less than %d %% of them", h.MaxPIDs, pressureUntil)
	}
	return out, true
}
