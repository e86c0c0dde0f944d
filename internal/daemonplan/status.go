package daemonplan

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/podstate"
)

// Done is what of a plan was carried out.
type Done struct {
	// Created are MiniPods that are there now; Deleted those that are gone or going.
	Created []*miniv1.MiniPod
	Deleted sets.Set[types.UID]
	// Failure is what could not be done.
	Failure conditions.Failure
	// Collisions is the new count of names that were taken; nil when it stays.
	Collisions *int32
}

// Status makes the status of the set that follows the one it has, and says after how long it will be outdated; 0 for never. Counts are of nodes, as
// they are after the plan was carried out.
func (p *Plan) Status(set *miniv1.MiniDaemonSet, done Done, now time.Time) (miniv1.MiniDaemonSetStatus, time.Duration) {
	after := *set.Status.DeepCopy()
	after.ObservedGeneration = set.Generation
	wake := sooner(p.Again, p.count(&after, done, now))
	if done.Collisions != nil {
		after.CollisionCount = done.Collisions
	}
	failure := done.Failure
	if p.spec.Mismatch() {
		failure = conditions.Failure{Final: true, Reason: miniv1.ReasonSelectorMismatch, Message: mismatch(p.spec)}
	}
	s := conditions.Setter{List: &after.Conditions, Generation: set.Generation, Now: metav1.NewTime(now)}
	s.Maybe(failure.Reason != "" && !p.spec.Mismatch(), miniv1.ConditionReplicaFailure, failure.Reason, failure.Message)
	summarize(s, p.spec, &after, failure)
	return after, wake
}

// count counts nodes, each by the best of its MiniPods. One that is being deleted is there, and serves no more.
func (p *Plan) count(status *miniv1.MiniDaemonSetStatus, done Done, now time.Time) (wake time.Duration) {
	status.DesiredNumberScheduled, status.CurrentNumberScheduled, status.NumberMisscheduled = 0, 0, 0
	status.NumberReady, status.NumberAvailable, status.UpdatedNumberScheduled = 0, 0, 0
	there := p.after(done)
	for _, n := range p.nodes {
		node := there[n.name]
		switch scheduled := node.best != nil || node.ending; {
		case n.answer != daemonset.Wants:
			if scheduled {
				status.NumberMisscheduled++
			}
			continue
		case scheduled:
			status.CurrentNumberScheduled++
		}
		status.DesiredNumberScheduled++
		if node.best == nil {
			continue
		}
		if p.isCurrent(node.best) {
			status.UpdatedNumberScheduled++
		}
		if podstate.IsReady(node.best) {
			status.NumberReady++
		}
		available, wait := podstate.IsAvailable(node.best, p.spec.MinReady, now)
		if available {
			status.NumberAvailable++
		}
		wake = sooner(wake, wait)
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	return wake
}

// seat is what a node has when the plan was carried out.
type seat struct {
	best   *miniv1.MiniPod
	ending bool
}

// after is what nodes have when the plan was carried out, by name.
func (p *Plan) after(done Done) map[string]seat {
	out := make(map[string]seat, len(p.nodes))
	add := func(node string, pod *miniv1.MiniPod) {
		s := out[node]
		switch {
		case done.Deleted.Has(pod.UID):
			s.ending = true
		case s.best == nil || better(pod, s.best) < 0:
			s.best = pod
		}
		out[node] = s
	}
	for _, n := range p.nodes {
		for _, pod := range n.pods {
			add(n.name, pod)
		}
		if len(n.ending) > 0 {
			s := out[n.name]
			s.ending = true
			out[n.name] = s
		}
	}
	for _, d := range p.Delete {
		add(d.Node, d.Pod)
	}
	for _, pod := range done.Created {
		add(NodeOf(pod), pod)
	}
	return out
}

// summarize sets Ready, Reconciling and Stalled, of which exactly one is true.
func summarize(s conditions.Setter, spec Spec, status *miniv1.MiniDaemonSetStatus, failure conditions.Failure) {
	desired := status.DesiredNumberScheduled
	ready := status.NumberAvailable == desired && (!spec.Rolling || status.UpdatedNumberScheduled == desired) && !failure.Final
	reason := miniv1.ReasonReplicasReady
	if !ready {
		reason = miniv1.ReasonReplicasNotReady
	}
	message := fmt.Sprintf("%d of %d nodes have a MiniPod that is available, %d have one of the current template.",
		status.NumberAvailable, desired, status.UpdatedNumberScheduled)
	s.Set(miniv1.ConditionReady, ready, reason, message)
	s.Maybe(failure.Final, miniv1.ConditionStalled, failure.Reason, failure.Message)
	if failure.Reason != "" {
		reason, message = failure.Reason, failure.Message
	}
	s.Maybe(!ready && !failure.Final, miniv1.ConditionReconciling, reason, message)
}

func mismatch(spec Spec) string {
	if spec.Unreadable != nil {
		return fmt.Sprintf("selector cannot be read, so no MiniPod is created: %v. It cannot be changed; "+
			"delete this object and create it anew with a correct selector.", spec.Unreadable)
	}
	return fmt.Sprintf("selector %q does not match the labels of the template, so no MiniPod is created. "+
		"Add the missing labels to spec.template.metadata.labels; the selector itself cannot be changed.", spec.Selector)
}
