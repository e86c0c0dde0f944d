package daemonplan

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/podstate"
)

// Bounds are on how many of that many nodes an update may run a second MiniPod, and on how many one may be missing. Percentages are rounded up.
// Never are both 0, since nothing could move then. A set that is not updated by itself has no bounds: 0 and 0.
func Bounds(set *miniv1.MiniDaemonSet, nodes int) (surge, unavailable int) {
	if !rolling(set) {
		return 0, 0
	}
	var given miniv1.RollingUpdateDaemonSet
	if set.Spec.UpdateStrategy.RollingUpdate != nil {
		given = *set.Spec.UpdateStrategy.RollingUpdate
	}
	surge, unavailable = resolve(given.MaxSurge, nodes, 0), resolve(given.MaxUnavailable, nodes, 1)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// resolve makes a number of a number or of a percentage of total.
func resolve(value *intstr.IntOrString, total, otherwise int) int {
	if value == nil {
		return otherwise
	}
	if value.Type == intstr.Int {
		return max(0, int(value.IntVal))
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(value.StrVal, "%"))
	if err != nil {
		return otherwise // the API server refuses what is not a percentage
	}
	return (max(0, percent)*total + 99) / 100
}

// surges tells whether an update runs new MiniPods beside old ones.
func (p *planner) surges() bool {
	surge, _ := Bounds(p.Set, 1)
	return surge > 0
}

// desired is how many nodes should have a MiniPod.
func (p *Plan) desired() (n int) {
	for _, node := range p.nodes {
		if node.answer == daemonset.Wants {
			n++
		}
	}
	return n
}

// update replaces MiniPods of old templates, as many at a time as the strategy lets.
func (p *planner) update() {
	if !p.spec.Rolling {
		return
	}
	if surge, unavailable := Bounds(p.Set, p.desired()); p.surges() {
		p.updateBeside(surge)
	} else {
		p.updateInPlace(unavailable)
	}
}

// updateInPlace deletes old MiniPods; new ones are created when those are gone. One that does not serve costs nothing and goes at once.
func (p *planner) updateInPlace(most int) {
	unavailable := 0
	type victim struct {
		n   *onNode
		pod *miniv1.MiniPod
	}
	var candidates []victim
	for _, n := range p.nodes {
		if n.answer != daemonset.Wants && len(n.pods) == 0 {
			continue
		}
		fresh, old, ok := p.split(n)
		switch {
		case !ok || (fresh == nil) == (old == nil):
			unavailable++ // another pass sees to this node
		case fresh != nil:
			if !p.available(fresh) {
				unavailable++
			}
		case !p.available(old):
			unavailable++
			p.delete(n, old, false)
		default:
			candidates = append(candidates, victim{n, old})
		}
	}
	for _, v := range candidates[:min(len(candidates), max(0, most-unavailable))] {
		p.delete(v.n, v.pod, false)
	}
}

// updateBeside creates new MiniPods beside old ones; the old ones are deleted when those are available. Where the old one does not serve, a new
// one is no surge. What is old on a node that should have none any more goes only as far as others serve in its place.
func (p *planner) updateBeside(most int) {
	var candidates, leftOver []*onNode
	surging, available := 0, 0
	for _, n := range p.nodes {
		fresh, old, ok := p.split(n)
		if p.serves(old) || p.serves(fresh) {
			available++
		}
		switch {
		case !ok || old != nil && fresh != nil:
			surging++ // another pass sees to this node
		case old == nil:
		case !p.serves(old):
			p.replaceIdle(n, old)
		case n.answer == daemonset.Wants:
			candidates = append(candidates, n)
		default:
			leftOver = append(leftOver, n)
		}
	}
	for _, n := range candidates[:min(len(candidates), max(0, most-surging))] {
		p.create(n)
	}
	for _, n := range leftOver[:min(len(leftOver), max(0, available-p.desired()))] {
		p.delete(n, n.pods[0], false)
	}
}

// replaceIdle replaces an old MiniPod that does not serve. It stays until the new one is there, in case it does yet, but what failed with its
// template is not tried again.
func (p *planner) replaceIdle(n *onNode, old *miniv1.MiniPod) {
	if n.answer == daemonset.Wants {
		p.create(n)
	}
	if n.answer != daemonset.Wants || podstate.IsFinished(old) {
		p.delete(n, old, false)
	}
}

func (p *planner) serves(pod *miniv1.MiniPod) bool { return pod != nil && p.available(pod) }
