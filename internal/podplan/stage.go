package podplan

import (
	"iter"
	"slices"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// part is a container of the spec in its place.
type part struct {
	kind  miniv1.ContainerKind
	spec  *miniv1.Container
	place int
}

// row is the containers of a MiniPod in the order in which they start: init containers and sidecars have a place each, and the main
// ones share the last.
type row []part

func rowOf(containers iter.Seq2[miniv1.ContainerKind, *miniv1.Container]) row {
	var out row
	place := -1
	for kind, c := range containers {
		if beside := len(out) > 0 && kind == miniv1.ContainerMain && out[len(out)-1].kind == kind; !beside {
			place++
		}
		out = append(out, part{kind, c, place})
	}
	return out
}

// places is how many there are.
func (r row) places() int {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].place + 1
}

// placeOf is the place of a container by its name. One that is not in the spec is where it ends first.
func (r row) placeOf(name string) int {
	for _, p := range r {
		if p.spec.Name == name {
			return p.place
		}
	}
	return max(0, r.places()-1)
}

// Stage is how many places of the row may run, counted from its beginning. It is a function of what is seen, not something that is
// remembered: an agent that comes anew finds the same one.
type Stage int

// lets tells whether containers in a place may run.
func (s Stage) lets(place int) bool { return place < int(s) }

// stage is how far a MiniPod may go now. While it is wanted, its stage rises over each place that is passed. While it ends, its stage
// falls below each place that is left: the same way backwards.
func (r row) stage(o *Observation, ending bool) Stage {
	if ending {
		return r.falling(o.left)
	}
	return r.rising(func(x part) bool { return r.passed(x, o) })
}

// rising is the stage up to and with the first part that is not passed.
func (r row) rising(passed func(part) bool) Stage {
	for _, p := range r {
		if !passed(p) {
			return Stage(p.place + 1)
		}
	}
	return Stage(r.places())
}

// falling is the stage below the last part that is not left.
func (r row) falling(left func(part) bool) Stage {
	for _, p := range slices.Backward(r) {
		if !left(p) {
			return Stage(p.place)
		}
	}
	return 0
}

// passed tells whether what comes after a part may start: after an init container when it ended well in this sandbox, after a sidecar
// while it runs and has started. Once a main container was made in this sandbox all is passed: then sidecars and main ones are restarted each for
// itself, and no init container is run again.
func (r row) passed(p part, o *Observation) bool {
	history := o.history(p.spec.Name)
	switch {
	case p.kind == miniv1.ContainerMain, r.initialized(o):
		return true
	case len(history) == 0:
		return false
	case p.kind == miniv1.ContainerInit:
		return history[0].succeeded() && o.madeHere(history[0])
	}
	return history[0].State == StateRunning && o.started(p.spec, history[0])
}

// initialized tells whether there was ever a main container in this sandbox. One that runs counts in whatever sandbox it is: beside it
// nothing is begun anew.
func (r row) initialized(o *Observation) bool {
	for _, p := range r {
		if p.kind == miniv1.ContainerMain && slices.ContainsFunc(o.Containers, func(c Container) bool {
			return c.Name == p.spec.Name && (c.MayRun() || o.madeHere(c))
		}) {
			return true
		}
	}
	return false
}

// inTurn tells whether containers of the row have to wait for each other.
func (r row) inTurn() bool { return r.places() > 1 }

// InTurn tells whether containers of the MiniPod wait for each other.
func InTurn(pod *miniv1.MiniPod) bool { return rowOf(pod.Spec.AllContainers()).inTurn() }

// left tells whether no process of a part can be there.
func (o *Observation) left(p part) bool {
	return !slices.ContainsFunc(o.Containers, func(c Container) bool { return c.Name == p.spec.Name && c.MayRun() })
}

// over tells whether a MiniPod will not go on: its main containers have all ended for good, or an init container failed for good. What
// is left then are sidecars, which serve nobody any more.
func (r row) over(pod *miniv1.MiniPod, o *Observation) bool {
	mains, ended := 0, 0
	for _, p := range r {
		forGood := o.left(p) && !r.decide(pod, p, o).start
		switch {
		case p.kind == miniv1.ContainerMain:
			if mains++; forGood {
				ended++
			}
		case p.kind == miniv1.ContainerInit && forGood && !r.passed(p, o):
			return true
		}
	}
	return ended == mains
}

// leastGrace is how long a container that had to wait for its turn to end, or for its preStop, has at least between its stop signal and SIGKILL, also when the
// grace period of the MiniPod is over by then; as a native Pod's.
const leastGrace = 2 * time.Second

// grace is the time between the stop signal and SIGKILL.
func grace(pod *miniv1.MiniPod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// beginEnd has it written down that the end begins of a MiniPod whose containers take turns, before anybody is asked to end: the grace
// period of all is counted from there. What was sent before, to make room for another image, has no part in it. It tells whether
// that is still to be done.
func (p *planner) beginEnd() bool {
	if !p.row.inTurn() || !p.observed.EndBegan.IsZero() || grace(p.desired) == 0 || !p.anyRunning() {
		return false
	}
	p.add(Action{Type: BeginEnd})
	return true
}

// endStage is the stage of a MiniPod that ends. The grace period is one for all of it: where it is over, nobody waits for others.
func (p *planner) endStage() Stage {
	period := grace(p.desired)
	if began := p.observed.EndBegan; period == 0 || !began.IsZero() && !p.now.Before(began.Add(period)) {
		return 0
	}
	return p.row.stage(p.observed, true)
}

// deadline is when a container that was asked to end is made to: at the end of its grace period, or, if it had to wait for its turn, at
// the end of the MiniPod's.
func (p *planner) deadline(c Container) time.Time {
	period := grace(p.desired)
	if !p.row.inTurn() || p.row.placeOf(c.Name) >= p.row.places()-1 {
		return p.observed.ownDeadline(c.ID, period)
	}
	return later(p.observed.EndBegan.Add(period), p.observed.Signals[c.ID].Term.Add(min(period, leastGrace)))
}
