package nodelife

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
)

const (
	// settle is how long a node must leave before its first MiniPod is moved: people change labels in two steps, and the scheduler has
	// to learn that nothing may go there.
	settle = 5 * time.Second
	// lastWork is how long an agent that left an empty node may be silent before it says so: it cleans the machine.
	lastWork = 2 * time.Minute
)

// hasLeft tells whether a node's agent has left in order: its last word is that nothing is left there.
func hasLeft(node *miniv1.MiniNode) bool {
	ready := readyOf(node)
	return ready != nil && ready.Reason == miniv1.ReasonAgentLeft
}

// leave says that the node's DaemonSet does not want it, and has the MiniPods moved while its agent is there to end them; or it takes
// that back.
func (p *Plan) leave(seen Observed, now time.Time) {
	if seen.MiniNode == nil || seen.Life.State == Unsure {
		return
	}
	said := meta.FindStatusCondition(seen.MiniNode.Status.Conditions, miniv1.ConditionLeaving)
	if seen.Unwanted == "" {
		// Nobody knows what a silent agent has left behind: it says so itself when it is back.
		p.Stay = said != nil && seen.Life.State == Alive
		return
	}
	empty := !slices.ContainsFunc(seen.Pods, podstate.MayBeThere)
	if at := seen.Life.Agent.LastSeen.Add(lastWork); seen.Life.State != Alive && empty && now.Before(at) {
		p.lookAt(at)
		return
	}
	if want := leaving(seen); said == nil || said.Reason != want.Reason || said.Message != want.Message {
		p.Leaving = &want
	}
	if seen.Life.State == Alive {
		p.move(seen, said, now)
	}
}

// move has the MiniPods moved of a node that leaves, when it has said so for long enough and nothing holds it back.
func (p *Plan) move(seen Observed, said *metav1.Condition, now time.Time) {
	switch {
	case said == nil:
		p.lookAt(now.Add(settle))
	case now.Before(said.LastTransitionTime.Add(settle)):
		p.lookAt(said.LastTransitionTime.Add(settle))
	case seen.Held:
		p.lookAt(now.Add(lookEvery))
	default:
		p.Unmark = nil
		for _, pod := range seen.Pods {
			if !podstate.IsDeleting(pod) {
				p.Move = append(p.Move, pod)
			}
		}
	}
}

// leaving is the condition of a node that its DaemonSet does not want.
func leaving(seen Observed) metav1.Condition {
	out := metav1.Condition{Type: miniv1.ConditionLeaving, Status: metav1.ConditionTrue, Reason: miniv1.ReasonMovingMiniPods}
	end := "its MiniPods are moved, and then its agent leaves"
	switch {
	case seen.Life.State != Alive:
		out.Reason = miniv1.ReasonLeftBehind
		end = "its agent has ended before everything was moved, and nobody ends what is left here; " +
			"have the DaemonSet want the node again until its agent is ready, and then no more"
	case seen.Held:
		out.Reason = miniv1.ReasonHeldBack
		end = "so many nodes leave or are silent at once that no MiniPods are moved, and they run on; let it want some of the nodes again"
	}
	out.Message = fmt.Sprintf("DaemonSet %s no longer wants this node (%s): %s", seen.MiniNode.Status.DaemonSet, seen.Unwanted, end)
	return out
}

// MarkMoved makes a MiniPod's status say that it is about to be deleted because its node leaves.
func MarkMoved(pod *miniv1.MiniPod) {
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonDeletionByNodeController, ObservedGeneration: pod.Generation,
		Message: fmt.Sprintf("the DaemonSet of miniplane's agents no longer wants node %s", pod.Status.NodeName)})
}

// Away says that a node leaves, or that it does not.
func (f *Fleet) Away(node string, leaves bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.member(node); m.leaves != leaves {
		m.leaves = leaves
		f.measured = time.Time{}
	}
}

// IsAway tells whether it was said that a node leaves.
func (f *Fleet) IsAway(node string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.member(node).leaves
}

// Held tells whether nodes that leave keep their MiniPods: so many leave, or are silent, that it is more likely a mistake, and there
// are few places to go; or so many of the zone are silent that nothing is moved there.
func (f *Fleet) Held(node string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.measure(now)
	return f.away.all() || f.away.share(blind) || f.zone(f.member(node).zone, now).pace == Stopped
}

// Leaving is how many nodes leave.
func (f *Fleet) Leaving() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if m.leaves {
			n++
		}
	}
	return n
}
