package nodelife

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// Policy says how long things are waited for.
type Policy struct {
	// EvictionWait is the time from the loss of a node to the deletion of its MiniPods.
	EvictionWait time.Duration
	// AgentAbsence is the same where only the agent is silent.
	AgentAbsence time.Duration
}

// Observed is what the API and the Fleet say about one node.
type Observed struct {
	// Name of the node.
	Name string
	// MiniNode of that name; nil when there is none.
	MiniNode *miniv1.MiniNode
	// NodeExists tells whether there is a core Node of that name.
	NodeExists bool
	// OutOfService is the taint of that Node with which somebody says that the machine is off, and that nothing runs there.
	OutOfService *corev1.Taint
	// Unwanted is why the DaemonSet that keeps the node's agent no longer wants the node; "" while it does, and where nobody knows.
	Unwanted string
	// Held: nodes that leave keep their MiniPods.
	Held bool
	// Left: the agent has left in order, and no other has come since, says its Lease. There is no MiniNode.
	Left bool
	// Pods bound to the node.
	Pods []*miniv1.MiniPod
	// Life of the node.
	Life Life
	// Pace at which nodes of its zone may be emptied.
	Pace Pace
}

// IsMember tells whether there is a node of miniplane, and not only MiniPods that were on one: a finalizer of a tenant's can keep those
// for ever.
func (o *Observed) IsMember() bool {
	return o.MiniNode != nil || o.NodeExists && slices.ContainsFunc(o.Pods, podstate.MayBeThere)
}

// Plan is what has to be done about a node. The zero value means nothing.
type Plan struct {
	// Ready is the condition that the MiniNode is to get; nil leaves what is there.
	Ready *metav1.Condition
	// Leaving is that condition of the MiniNode as it is to be; nil leaves what is there. Stay: it is to go.
	Leaving *metav1.Condition
	Stay    bool
	// Move are MiniPods to be deleted, so that they are replaced, because the node leaves, if the Fleet admits it.
	Move []*miniv1.MiniPod
	// MarkLost are MiniPods whose status is to be what MarkLost makes of it.
	MarkLost []*miniv1.MiniPod
	// Unmark are MiniPods whose status is to be what Unmark makes of it.
	Unmark []*miniv1.MiniPod
	// Evict are MiniPods to be marked, and deleted so that they are replaced, if the Fleet admits it.
	Evict []*miniv1.MiniPod
	// Discharge are MiniPods that are to stop counting in their namespace's quota, and Recharge those that are to count again.
	Discharge, Recharge []*miniv1.MiniPod
	// Delete are MiniPods to be deleted, whatever the brake says.
	Delete []*miniv1.MiniPod
	// Release are MiniPods that nobody but us can let go of any more: the agent's finalizer is to be removed.
	Release []*miniv1.MiniPod
	// DeleteMiniNode: the node is gone for good, after all of the above.
	DeleteMiniNode bool
	// Again is when to look again if nothing happens before; zero for never.
	Again time.Time
}

// Harms tells whether the plan does what must not be done to a node that lives: it is to be made sure first.
func (p *Plan) Harms() bool {
	return p.Ready != nil || p.Leaving != nil || p.DeleteMiniNode || len(p.Move)+len(p.MarkLost)+len(p.Evict)+len(p.Discharge)+len(p.Delete)+len(p.Release) > 0
}

// Hold takes evictions and moves out of the plan, until then. Of what is known not to run it is said meanwhile.
func (p *Plan) Hold(seen Observed, then time.Time) {
	for _, pod := range p.Evict {
		if seen.Life.State != Absent && !isMarked(pod) {
			p.MarkLost = append(p.MarkLost, pod)
		}
	}
	if len(p.Move) > 0 { // they serve on where they are, until it is their turn
		p.Unmark = welcome(seen).Unmark
	}
	p.Evict, p.Move = nil, nil
	p.lookAt(then)
}

func (p *Plan) lookAt(then time.Time) {
	if !then.IsZero() && (p.Again.IsZero() || then.Before(p.Again)) {
		p.Again = then
	}
}

// Decide makes the plan for one node.
func Decide(seen Observed, policy Policy, now time.Time) Plan {
	state := seen.Life.State
	switch {
	case seen.Left || hasLeft(seen.MiniNode):
		return bury(seen)
	case state == Unsure:
		return Plan{Again: seen.Life.Next}
	case state == Alive:
		plan := welcome(seen)
		plan.leave(seen, now)
		return plan
	case !seen.NodeExists:
		return bury(seen)
	}
	plan := Plan{Again: seen.Life.Next}
	plan.Ready = news(seen, policy)
	plan.leave(seen, now)
	switch {
	case state == Lost && seen.OutOfService != nil:
		plan.letGo(seen)
	case state != Restarted && seen.Pace == Stopped:
		plan.lookAt(now.Add(lookEvery))
	default:
		plan.giveUp(seen, policy, now)
	}
	return plan
}

// welcome takes back what was said of MiniPods while their node was lost: of those that are being deleted, that they do not
// count, for the agent ends them now; of the others everything, once the agent says itself that it can start containers. Until
// then nobody knows whether they still run.
func welcome(seen Observed) Plan {
	plan := Plan{Again: seen.Life.Next}
	ready := readyOf(seen.MiniNode)
	speaks := ready != nil && ready.Status == metav1.ConditionTrue
	for _, pod := range seen.Pods {
		switch {
		case podstate.IsDeleting(pod):
			if isDischarged(pod) {
				plan.Recharge = append(plan.Recharge, pod)
			}
		case speaks && isMarked(pod):
			plan.Unmark = append(plan.Unmark, pod)
		}
	}
	return plan
}

// bury ends what was on a node whose agent is lost and whose core Node was deleted, or whose agent has left: nobody comes back to do it.
func bury(seen Observed) Plan {
	var plan Plan
	for _, pod := range seen.Pods {
		plan.end(pod)
	}
	plan.DeleteMiniNode = seen.MiniNode != nil && seen.MiniNode.DeletionTimestamp == nil
	return plan
}

// letGo ends what was on a lost node that somebody declared out of service. What tolerates that stays, as Pods do.
func (p *Plan) letGo(seen Observed) {
	for _, pod := range seen.Pods {
		if podstate.IsDeleting(pod) || !taints.Tolerated(pod.Spec.Tolerations, seen.OutOfService) {
			p.end(pod)
		}
	}
}

func (p *Plan) end(pod *miniv1.MiniPod) {
	if !podstate.IsDeleting(pod) {
		p.Delete = append(p.Delete, pod)
	}
	if slices.Contains(pod.Finalizers, miniv1.AgentFinalizer) {
		p.Release = append(p.Release, pod)
	}
}

// giveUp has the MiniPods replaced when their time is over, and until then, if the node is lost, says that nothing is known of
// them.
func (p *Plan) giveUp(seen Observed, policy Policy, now time.Time) {
	for _, pod := range seen.Pods {
		if podstate.IsDeleting(pod) {
			p.discharge(pod, seen.Life.Since.Add(policy.patience(seen.Life.State)), now)
			continue
		}
		if podstate.IsFinished(pod) {
			continue
		}
		deadline, never := policy.deadline(pod, seen.Life)
		switch {
		case !never && !now.Before(deadline):
			p.Evict = append(p.Evict, pod)
			continue
		case !never:
			p.lookAt(deadline)
		}
		if seen.Life.State != Absent && !isMarked(pod) {
			p.MarkLost = append(p.MarkLost, pod)
		}
	}
}

// discharge takes a MiniPod off its namespace's quota whose end nobody waits for any longer: its node is given up, and its
// containers have had their grace period. Its room on the node stays taken.
func (p *Plan) discharge(pod *miniv1.MiniPod, givenUp, now time.Time) {
	if isDischarged(pod) || podstate.IsFinished(pod) {
		return
	}
	if at := later(givenUp, endOf(pod)); now.Before(at) {
		p.lookAt(at)
	} else {
		p.Discharge = append(p.Discharge, pod)
	}
}

// news is the condition Ready that a silent node's MiniNode is to get, nil where it says so already.
func news(seen Observed, policy Policy) *metav1.Condition {
	if seen.MiniNode == nil {
		return nil
	}
	reason, message := miniv1.ReasonAgentLost, fmt.Sprintf(
		"neither the agent nor the machine has renewed its heartbeat since %s", stamp(seen.Life.LastSeen()))
	switch seen.Life.State {
	case Absent:
		reason, message = miniv1.ReasonAgentAbsent, fmt.Sprintf(
			"the agent has not renewed its heartbeat since %s, but the machine lives: MiniPods run on, nothing is started", stamp(seen.Life.Agent.LastSeen))
	case Restarted:
		reason, message = miniv1.ReasonMachineRestarted, fmt.Sprintf(
			"the agent has not renewed its heartbeat since %s, and the machine was started again: what ran here has ended", stamp(seen.Life.Agent.LastSeen))
	}
	outlook := ""
	switch {
	case seen.Life.State == Lost && seen.OutOfService != nil:
		outlook = "; it is out of service: MiniPods are let go of"
	case seen.Pace == Stopped:
		outlook = "; so much is silent at once that no MiniPods are moved"
	case seen.Pace == Slow:
		outlook = "; so much is silent at once that MiniPods are moved slowly"
	case seen.Life.State == Absent:
		outlook = fmt.Sprintf("; unless it comes back, they are moved %s after that", policy.AgentAbsence)
	}
	ready := readyOf(seen.MiniNode)
	if ready != nil && ready.Reason == reason && strings.HasSuffix(ready.Message, outlook) && (outlook != "" || !strings.Contains(ready.Message, ";")) {
		return nil
	}
	return &metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionUnknown, Reason: reason, Message: message + outlook}
}

func readyOf(node *miniv1.MiniNode) *metav1.Condition {
	if node == nil {
		return nil
	}
	return meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionReady)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
