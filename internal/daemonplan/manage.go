package daemonplan

import (
	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/podstate"
)

// manage sees to one node: that it has a MiniPod if it is wanted, none if it is rejected, and never one too many.
func (p *planner) manage(n *onNode) {
	if n.answer == daemonset.Rejects {
		for _, pod := range n.pods {
			p.delete(n, pod, false)
		}
		return
	}
	empty := len(n.pods) == 0 && (len(n.ending) == 0 || p.surges())
	if empty && n.answer == daemonset.Wants {
		p.create(n)
		return
	}
	running := p.replaceEnded(n)
	switch {
	case len(running) < 2:
	case p.surges():
		p.manageBoth(n, running)
	default:
		for _, pod := range running[1:] {
			p.delete(n, pod, false)
		}
	}
}

// replaceEnded has MiniPods deleted that have ended, so that others are created when they are gone, and returns the rest. One that failed waits
// where others failed before it.
func (p *planner) replaceEnded(n *onNode) (running []*miniv1.MiniPod) {
	for _, pod := range n.pods {
		retry := p.Retry[n.name]
		switch {
		case !podstate.IsFinished(pod):
			running = append(running, pod)
		case pod.Status.Phase == miniv1.PodFailed && p.Now.Before(retry):
			p.wakeAfter(retry.Sub(p.Now))
		default:
			p.delete(n, pod, true)
		}
	}
	return running
}

// manageBoth keeps a MiniPod of the current template and an old one side by side, for as long as the old one serves and the current one is
// not available.
func (p *planner) manageBoth(n *onNode, running []*miniv1.MiniPod) {
	var fresh, old *miniv1.MiniPod
	for _, pod := range running {
		switch current := p.isCurrent(pod); {
		case current && fresh == nil:
			fresh = pod
		case !current && old == nil:
			old = pod
		default:
			p.delete(n, pod, false)
		}
	}
	if fresh != nil && old != nil && (!podstate.IsReady(old) || p.available(fresh)) {
		p.delete(n, old, false)
	}
}
