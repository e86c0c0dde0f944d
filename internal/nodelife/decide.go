package nodelife

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// Observed is what the API and the Tracker say about one node.
type Observed struct {
	// Name of the node.
	Name string
	// MiniNode of that name; nil when there is none.
	MiniNode *miniv1.MiniNode
	// NodeExists tells whether there is a core Node of that name.
	NodeExists bool
	// Pods bound to the node.
	Pods []*miniv1.MiniPod
	// Health of the agent.
	Health Health
	// Blind: not one agent of the cluster seems alive, so it is more likely that we do not see them.
	Blind bool
}

// Plan is what has to be done about a node. The zero value means nothing.
type Plan struct {
	// Ready is the condition that the MiniNode is to get; nil leaves the agent's.
	Ready *metav1.Condition
	// MarkLost are MiniPods whose status is to be what MarkLost makes of it.
	MarkLost []*miniv1.MiniPod
	// Unmark are MiniPods whose status is to be what Unmark makes of it.
	Unmark []*miniv1.MiniPod
	// Delete are MiniPods to be deleted, so that they are replaced.
	Delete []*miniv1.MiniPod
	// Release are MiniPods that nobody but us can let go of any more: the agent's finalizer is to be removed.
	Release []*miniv1.MiniPod
	// DeleteMiniNode: the node is gone for good, after all of the above.
	DeleteMiniNode bool
	// Again is when to look again if nothing happens before; zero for never.
	Again time.Time
}

// Decide makes the plan for one node. Wait is the time from the loss of an agent to the deletion of its MiniPods.
func Decide(seen Observed, wait time.Duration, now time.Time) Plan {
	switch {
	case seen.Health.State == Unsure:
		return Plan{Again: seen.Health.LostAt}
	case seen.Health.State == Alive:
		return welcome(seen)
	case !seen.NodeExists:
		return bury(seen)
	default:
		return giveUp(seen, wait, now)
	}
}

// welcome takes back what was said of an agent while it was lost. MiniPods that are being deleted stay so: the agent
// finishes them.
func welcome(seen Observed) Plan {
	plan := Plan{Again: seen.Health.LostAt}
	if ready := readyOf(seen.MiniNode); ready != nil && ready.Reason == miniv1.ReasonAgentLost {
		plan.Ready = &metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady,
			Message: "the agent renews its heartbeat again"}
	}
	for _, pod := range seen.Pods {
		if isMarked(pod) && !podstate.IsDeleting(pod) {
			plan.Unmark = append(plan.Unmark, pod)
		}
	}
	return plan
}

// bury ends what was on a node whose agent is lost and whose core Node was deleted: nobody comes back to do it.
func bury(seen Observed) Plan {
	var plan Plan
	for _, pod := range seen.Pods {
		if !podstate.IsDeleting(pod) {
			plan.Delete = append(plan.Delete, pod)
		}
		if slices.Contains(pod.Finalizers, miniv1.AgentFinalizer) {
			plan.Release = append(plan.Release, pod)
		}
	}
	plan.DeleteMiniNode = seen.MiniNode != nil && seen.MiniNode.DeletionTimestamp == nil
	return plan
}

// giveUp says that the agent is lost, and after the wait has its MiniPods replaced.
func giveUp(seen Observed, wait time.Duration, now time.Time) Plan {
	var plan Plan
	if ready := readyOf(seen.MiniNode); seen.MiniNode != nil && (ready == nil || ready.Reason != miniv1.ReasonAgentLost) {
		plan.Ready = &metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionUnknown, Reason: miniv1.ReasonAgentLost,
			Message: fmt.Sprintf("the agent has not renewed its heartbeat since %s", stamp(seen.Health.LastSeen))}
	}
	if seen.Blind {
		return plan
	}
	for _, pod := range seen.Pods {
		if !podstate.IsActive(pod) {
			continue
		}
		if !isMarked(pod) {
			plan.MarkLost = append(plan.MarkLost, pod)
		}
		patience, forever := tolerates(pod, wait)
		if forever {
			continue
		}
		deadline := seen.Health.LostAt.Add(patience)
		if !now.Before(deadline) {
			plan.Delete = append(plan.Delete, pod)
		} else if plan.Again.IsZero() || deadline.Before(plan.Again) {
			plan.Again = deadline
		}
	}
	return plan
}

func readyOf(node *miniv1.MiniNode) *metav1.Condition {
	if node == nil {
		return nil
	}
	return meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionReady)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
