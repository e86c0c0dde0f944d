package podplan

import (
	"slices"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// killAgain is the time after which an unanswered SIGKILL is sent again.
const killAgain = 5 * time.Second

// deletion ends a MiniPod in order: preStop of all containers is run at once, as in a native Pod, also of those whose turn it is not yet;
// containers get their stop signals, at the deadline SIGKILL, and are then removed, whether they
// still run or not. SIGKILL has its own step because removals take turns: where many MiniPods end at once, none runs on until
// its turn comes. Where it fails, removing, which kills too, is the next try.
//
// The grace period is counted from preStop, or from the first signal. When the API server marked the MiniPod as deleted does not matter: its
// clock is another machine's, and counts whole seconds.
func (p *planner) deletion() []Action {
	o, period := p.observed, grace(p.desired)
	_, failed := o.Failures[teardownTask]
	if p.beginEnd() {
		return p.actions
	}
	stage := p.endStage()
	for _, c := range o.Containers {
		if !c.MayRun() || p.runPreStop(c, period) {
			continue
		}
		if stage.lets(p.row.placeOf(c.Name)) {
			continue // it is not its turn
		}
		sent, deadline := o.Signals[c.ID], p.deadline(c)
		switch {
		case c.State == StateUnanswered:
			p.add(leaveTime(c, o, period, p.now)...)
		case period > 0 && (sent.Term.IsZero() || p.now.Before(deadline)):
			p.terminate(c, period, deadline)
		case sent.Kill.IsZero() && !failed:
			p.add(kill(c, o, p.now))
		}
	}
	if len(p.actions) > 0 {
		return p.actions
	}
	// Whose grace period is over is taken away, before those come whose turn it was not.
	left := *o
	left.Containers = slices.DeleteFunc(slices.Clone(o.Containers), func(c Container) bool { return c.MayRun() && stage.lets(p.row.placeOf(c.Name)) })
	return removal(p.desired, left)
}

// leaveTime leaves its grace period to a container that nobody tells of; then it is removed. Where no signal was sent, the period is
// counted from when this is first done.
func leaveTime(c Container, o *Observation, period time.Duration, now time.Time) []Action {
	since := o.beganToEnd(c.ID)
	switch deadline := since.Add(period); {
	case period == 0:
		return nil
	case since.IsZero():
		return []Action{{Type: LeaveTime, ID: c.ID}}
	case now.Before(deadline):
		return []Action{{Type: Wait, Until: deadline}}
	}
	return nil
}

// terminate runs preStop, sends the stop signal, waits for the deadline, and then sends SIGKILL.
func (p *planner) terminate(c Container, period time.Duration, deadline time.Time) {
	sent := p.observed.Signals[c.ID]
	switch {
	case p.runPreStop(c, period):
	case sent.Term.IsZero(), sent.Unsure && p.now.Before(deadline):
		p.add(Action{Type: KillContainer, ID: c.ID, Signal: StopSignal})
	case p.now.Before(deadline):
		p.add(Action{Type: Wait, Until: deadline})
	default:
		p.add(kill(c, p.observed, p.now))
	}
}

// kill sends SIGKILL, now and then.
func kill(c Container, o *Observation, now time.Time) Action {
	if again := o.Signals[c.ID].Kill.Add(killAgain); now.Before(again) {
		return Action{Type: Wait, Until: again}
	}
	return Action{Type: KillContainer, ID: c.ID, Signal: SIGKILL}
}

// removal takes everything away: containers, then network, volumes and files, then the sandbox, then the finalizer. Nothing is
// asked for longer than its own step takes.
func removal(desired *miniv1.MiniPod, o Observation) []Action {
	var actions []Action
	for _, c := range o.Containers {
		actions = append(actions, Action{Type: RemoveContainer, ID: c.ID})
	}
	if len(actions) > 0 {
		return actions
	}
	if !o.Gone.Network {
		actions = append(actions, Action{Type: DetachNetwork})
	}
	if !o.Gone.Volumes {
		actions = append(actions, Action{Type: RemoveVolumes})
	}
	if !o.Gone.Files {
		actions = append(actions, Action{Type: RemoveFiles})
	}
	if len(actions) == 0 && !o.Gone.Sandbox {
		actions = append(actions, Action{Type: RemoveSandbox})
	}
	if len(actions) == 0 && desired != nil && slices.Contains(desired.Finalizers, miniv1.AgentFinalizer) {
		actions = append(actions, Action{Type: RemoveFinalizer})
	}
	return actions
}

// release gives back what a MiniPod that ended for good does not need. Its logs stay until it is deleted; its volumes do not, as native.
func (p *planner) release() []Action {
	if p.endInTurn() {
		return p.actions
	}
	o := *p.observed
	o.Gone.Files = true
	return removal(nil, o)
}

// endInTurn ends what still runs of a MiniPod that goes on no more, and tells whether there is such. Who does not answer is asked
// again: nothing presses.
func (p *planner) endInTurn() bool {
	if p.beginEnd() {
		return true
	}
	stage := p.endStage()
	for _, c := range p.observed.Containers {
		switch {
		case c.State == StateUnanswered:
			p.waitUntil(p.now.Add(UnavailableRetry))
		case p.runPreStop(c, grace(p.desired)):
		case c.State == StateRunning && !stage.lets(p.row.placeOf(c.Name)):
			p.terminate(c, grace(p.desired), p.deadline(c))
		}
	}
	return len(p.actions) > 0
}

// teardownBackoff waits after a step that failed.
func teardownBackoff(o *Observation, now time.Time) []Action {
	if failure, failed := o.Failures[teardownTask]; failed && failure.retryAt(false).After(now) {
		return []Action{{Type: Wait, Until: failure.retryAt(false)}}
	}
	return nil
}
