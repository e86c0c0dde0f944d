package nodelife

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

const (
	// defaultGrace is a MiniPod's grace period where it names none, as in the node agent.
	defaultGrace = 30 * time.Second
	// slack is how much longer than its grace period the end of a MiniPod may take before it stops counting in the quota of
	// its namespace.
	slack = 10 * time.Second
)

// patience is how long a node may be in a state before its MiniPods are replaced, as far as they say nothing about that.
func (p Policy) patience(state State) time.Duration {
	if state == Absent {
		return p.AgentAbsence
	}
	return p.EvictionWait
}

// deadline is when a MiniPod is replaced; never is for those that tolerate the state of their node for ever.
func (p Policy) deadline(pod *miniv1.MiniPod, life Life) (at time.Time, never bool) {
	patience, never := p.tolerates(pod, life.State)
	return life.Since.Add(patience), never
}

// tolerates tells how long a MiniPod is left on a node in that state: as long as its tolerations say, or else as is usual here. A
// node that is lost is unreachable, one whose agent is absent not ready. What stays on an unreachable node for longer than that
// does so on one that is not ready, too.
func (p Policy) tolerates(pod *miniv1.MiniPod, state State) (patience time.Duration, forever bool) {
	usual := p.patience(state)
	unreachable, forever, found := tolerated(pod, corev1.TaintNodeUnreachable)
	switch {
	case state != Absent:
		if !found {
			return usual, false
		}
		return unreachable, forever
	case !found:
		unreachable = 0
	}
	if notReady, forever, found := tolerated(pod, corev1.TaintNodeNotReady); found {
		return notReady, forever
	}
	return max(usual, unreachable), forever
}

// tolerated is how long the tolerations cover the NoExecute taint of that key: the shortest of those that say it, or for ever.
func tolerated(pod *miniv1.MiniPod, key string) (shortest time.Duration, forever, found bool) {
	forever = true
	taint := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute}
	for i := range pod.Spec.Tolerations {
		toleration := &pod.Spec.Tolerations[i]
		if !taints.Matches(toleration, &taint) {
			continue
		}
		found = true
		if toleration.TolerationSeconds == nil {
			continue
		}
		seconds := taints.Patience(*toleration.TolerationSeconds)
		if forever || seconds < shortest {
			shortest = seconds
		}
		forever = false
	}
	return shortest, forever && found, found
}

// endOf is when a MiniPod that is being deleted should have ended, by the clock of the API server. Where the manager's is ahead of it, or
// set forward, the grace period is cut short in the quota alone, and never before the node is given up, which is by what was seen.
func endOf(pod *miniv1.MiniPod) time.Time {
	grace := defaultGrace
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	return pod.DeletionTimestamp.Add(grace + slack)
}
