package rollout

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
)

func (p *planner) recreates() bool {
	return p.Deployment.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
}

// roll takes one step of a rolling update: grow the new set as far as the upper bound allows, then shrink the old ones as
// far as the lower bound allows, beginning with what is unavailable anyway.
func (p *planner) roll() {
	p.growNew()
	p.shrinkOld()
}

func (p *planner) growNew() {
	have, total := p.new.spec(), sum(p.all(), (*draft).size)
	if have >= p.replicas {
		p.new.scale(p.replicas, "%d wanted", p.replicas)
		return
	}
	room := max(0, p.replicas+p.surge-total)
	p.new.scale(have+min(room, p.replicas-have), "%d wanted + %d surge, %d exist", p.replicas, p.surge, total)
}

func (p *planner) shrinkOld() {
	least := p.replicas - p.unavailable
	total := sum(p.all(), (*draft).spec)
	if sum(p.old, (*draft).spec) == 0 {
		p.waitForNew()
		return
	}
	// Of what would stay, that many are sure to be available at most.
	missing := p.new.spec() - p.new.available()
	p.dropUnhealthy(total - least - missing)

	available := sum(p.all(), (*draft).available)
	spare := available - least
	if spare <= 0 {
		p.plan.Waits = fmt.Sprintf("%d available, may lose 0 (%d must stay), %d of %d new ones available",
			available, least, p.new.available(), p.replicas)
		return
	}
	for _, d := range p.old {
		n := min(spare, d.spec())
		d.scale(d.spec()-n, "%d available, may lose %d (%d must stay)", available, available-least, least)
		spare -= n
	}
}

// dropUnhealthy removes up to spare unavailable replicas from the old sets: they serve nobody and hold up the rollout.
func (p *planner) dropUnhealthy(spare int) {
	for _, d := range p.old {
		unhealthy := d.spec() - d.available()
		if n := min(spare, unhealthy); n > 0 {
			d.scale(d.spec()-n, "%d unavailable, which serve nobody", unhealthy)
			spare -= n
		}
	}
}

func (p *planner) waitForNew() {
	if n := sum(p.old, (*draft).size); n > 0 {
		p.plan.Waits = fmt.Sprintf("%d old ones are ending", n)
	} else if p.new.available() < p.replicas {
		p.plan.Waits = fmt.Sprintf("%d of %d new ones available", p.new.available(), p.replicas)
	}
}

// recreate ends all old MiniPods, and starts new ones only when the last of them is gone from its node. That their sets
// have acted on their latest spec is part of it: one that has not might still create some.
func (p *planner) recreate() {
	left := 0
	for _, d := range p.old {
		d.scale(0, "every old one goes before the first new one comes")
		left += max(d.size(), p.PodsLeft[d.before.UID])
		if !seen(d.before) || d.why != "" {
			left = max(left, 1)
		}
	}
	if left > 0 {
		p.plan.Waits = fmt.Sprintf("%d old ones are not gone yet", left)
		return
	}
	if p.new == nil {
		p.startSet()
	}
	p.new.scale(p.replicas, "%d wanted, all old ones are gone", p.replicas)
	p.waitForNew()
}
