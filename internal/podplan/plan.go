package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// Plan decides what to do next for a MiniPod; desired is nil when it is gone from the API, or is somebody else's. The
// actions do not depend on each other. An empty plan means that all is as it should be.
//
// Whatever was observed, no plan creates or starts a container while another attempt of the same name may run, and no plan ends the one
// that runs because somebody did not answer.
func Plan(desired *miniv1.MiniPod, observed Observation, now time.Time) []Action {
	p := planner{desired: hurried(desired, &observed), observed: observed.judged(desired, now), now: now}
	if desired != nil {
		p.row = rowOf(desired.Spec.AllContainers())
	}
	return p.plan()
}

// planner collects the actions of a plan.
type planner struct {
	desired  *miniv1.MiniPod
	row      row // the desired one's containers
	observed *Observation
	now      time.Time
	actions  []Action
}

func (p *planner) plan() []Action {
	switch wait := teardownBackoff(p.observed, p.now); {
	case wait != nil && (p.desired == nil || podstate.IsDeleting(p.desired) || podstate.IsFinished(p.desired)):
		return wait
	case p.desired == nil:
		return removal(nil, *p.observed)
	case podstate.IsDeleting(p.desired):
		return p.deletion()
	case podstate.IsFinished(p.desired):
		return p.release()
	}
	p.run()
	p.tellLater()
	p.waitUntil(activeUntil(p.desired, p.observed))
	return p.actions
}

func (p *planner) add(actions ...Action) { p.actions = append(p.actions, actions...) }

// waitUntil plans again at a time, unless that is over.
func (p *planner) waitUntil(t time.Time) {
	if t.After(p.now) {
		p.add(Action{Type: Wait, Until: t})
	}
}

// run goes: what runs and must not, what failed its probes, then the ground that containers stand on, then the containers, then old ones.
func (p *planner) run() {
	over := p.observed.forced() || p.row.over(p.desired, p.observed)
	if !over && !p.observed.EndBegan.IsZero() { // it had begun to end by itself, and was changed
		p.add(Action{Type: CancelEnd})
		return
	}
	if p.endUnfit(over) || over && p.endInTurn() {
		return
	}
	p.endUnhealthy()
	var wanted []next
	if !over {
		wanted = p.wanted()
	}
	volumes, ground := p.volumes(len(wanted) > 0), p.ground(len(wanted) > 0)
	if ground {
		p.runPostStart()
	}
	if !ground || !volumes {
		p.images(wanted)
		return
	}
	for _, next := range wanted {
		p.bringUp(next)
	}
	if work, _ := Split(p.actions); len(work) == 0 && teardownBackoff(p.observed, p.now) == nil {
		p.prune()
	}
}

// endUnfit ends containers that run from an older spec, or without the sandbox that they joined, or beside another of their
// name, and takes away created ones that would. It tells whether there are such.
func (p *planner) endUnfit(over bool) bool {
	for _, x := range p.row {
		history := p.observed.history(x.spec.Name)
		for i, there := range history {
			changed := p.makesRoom(x, there, over)
			orphaned := p.observed.Sandbox == SandboxNone || there.State == StateCreated && !p.observed.madeHere(there)
			second := i > 0 && history[0].MayRun()
			switch {
			case there.State == StateRunning && orphaned:
				p.add(kill(there, p.observed, p.now))
			case there.State == StateRunning && (changed || second && history[0].State == StateRunning):
				p.terminate(there, grace(p.desired), p.observed.ownDeadline(there.ID, grace(p.desired)))
			case there.State == StateCreated && (orphaned || changed || second):
				p.add(Action{Type: RemoveContainer, ID: there.ID})
			}
		}
	}
	p.slowDown()
	return len(p.actions) > 0
}

// outdated tells whether a container is to make room for one of another image. A new image that is refused is as good as none: what runs
// is left alone. So is an init container that runs: it is as good with the image that it has.
func (p *planner) outdated(x part, c Container) bool {
	return c.ofOtherSpec(x.spec) && p.observed.Refusal == nil && (x.kind.Lasts() || c.State == StateCreated)
}

// makesRoom tells whether a container is to go for one of another image. One whose preStop was begun for that goes, be the image taken back
// or not; in a MiniPod that is over it is begun for another reason.
func (p *planner) makesRoom(x part, c Container, over bool) bool {
	prepared := !p.observed.preStop(c.ID).Began.IsZero() && !p.observed.unhealthy(c)
	return p.outdated(x, c) || prepared && !over
}

// slowDown puts off what is to be removed while removing does not work.
func (p *planner) slowDown() {
	if wait := teardownBackoff(p.observed, p.now); wait != nil && len(p.actions) > 0 {
		p.actions = wait
	}
}

// next is a container that is wanted and does not run: one to create, or a created one to start.
type next struct {
	spec             *miniv1.Container
	created          string // ID of the created one
	attempt, crashes int
}

// wanted lists the containers that should, and may, be started now, and waits for those that are in back-off.
func (p *planner) wanted() []next {
	var out []next
	stage := p.row.stage(p.observed, false)
	for _, x := range p.row {
		decision := p.row.decide(p.desired, x, p.observed)
		switch {
		case !stage.lets(x.place):
		case !decision.start || p.observed.refuses(x.spec):
		case decision.at.After(p.now):
			p.waitUntil(decision.at)
		default:
			out = append(out, decision.next)
		}
	}
	return out
}

// decision is whether, and when, a container is to be started.
type decision struct {
	start bool
	at    time.Time
	next  next
}

// decide applies restart policy and back-off to one container. Whether it is its turn is not asked.
func (r row) decide(pod *miniv1.MiniPod, x part, o *Observation) decision {
	d := decision{next: next{spec: x.spec}}
	if o.forced() || x.kind == miniv1.ContainerInit && r.passed(x, o) {
		return d
	}
	policy := x.restartPolicy(pod)
	failure, failed := o.Failures[taskOf(x.spec.Name)]
	failed = failed && failure.SpecHash == SpecHash(x.spec)
	if failed && gaveUp(policy, failure) {
		return d
	}
	history := o.history(x.spec.Name)
	switch {
	case len(history) == 0:
		d.start = true
	case history[0].MayRun():
		return d // never a second one beside it
	case history[0].State == StateCreated:
		d.start, d.next.created, d.next.attempt = true, history[0].ID, history[0].Attempt
	default:
		last := history[0]
		d.next.attempt = last.Attempt + 1
		if last.ofOtherSpec(x.spec) || x.kind == miniv1.ContainerInit && last.succeeded() { // which is for a sandbox that is gone
			d.start = true
		} else if d.start = x.restartable(pod, last, o.unhealthy(last)); d.start {
			d.at, d.next.crashes = restart(last, o.endOf(last))
		}
	}
	if failed {
		d.after(failure)
	}
	return d
}

// prune removes all but the two newest containers of each name: the one that counts and its predecessor.
func (p *planner) prune() {
	for _, x := range p.row {
		history := p.observed.history(x.spec.Name)
		for _, old := range history[min(2, len(history)):] {
			if !old.MayRun() {
				p.add(Action{Type: PruneContainer, ID: old.ID})
			}
		}
	}
}
