package podworker

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// plan decides what to do next for a MiniPod; desired is nil when it is gone from the API, or is somebody else's. The
// actions do not depend on each other. An empty plan means that all is as it should be.
//
// Whatever was observed, no plan creates or starts a container while another attempt of the same name may run, and no plan ends the one
// that runs because somebody did not answer.
func plan(desired *miniv1.MiniPod, observed Observation, now time.Time) []Action {
	switch wait := teardownBackoff(&observed, now); {
	case wait != nil && (desired == nil || podstate.IsDeleting(desired) || podstate.IsFinished(desired)):
		return wait
	case desired == nil:
		return planRemoval(desired, observed)
	case podstate.IsDeleting(desired):
		return planDeletion(desired, observed, now)
	case podstate.IsFinished(desired):
		return planRelease(desired, observed, now)
	}
	var p planner
	p.desired, p.observed, p.now = desired, &observed, now
	return p.run()
}

// planner collects the actions that bring a MiniPod up and keep it up.
type planner struct {
	desired  *miniv1.MiniPod
	observed *Observation
	now      time.Time
	actions  []Action
}

func (p *planner) add(actions ...Action) { p.actions = append(p.actions, actions...) }

// waitUntil plans again at a time, unless that is over.
func (p *planner) waitUntil(t time.Time) {
	if t.After(p.now) {
		p.add(Action{Type: Wait, Until: t})
	}
}

// run goes: what runs and must not, then the ground that containers stand on, then the containers, then old ones.
func (p *planner) run() []Action {
	if p.endUnfit() {
		return p.actions
	}
	wanted := p.wanted()
	if !p.ground(len(wanted) > 0) {
		p.images(wanted)
		return p.actions
	}
	for _, next := range wanted {
		p.bringUp(next)
	}
	if work, _ := split(p.actions); len(work) == 0 && teardownBackoff(p.observed, p.now) == nil {
		p.prune()
	}
	return p.actions
}

// endUnfit ends containers that run from an older spec, or without the sandbox that they joined, or beside another of their
// name, and takes away created ones that would. It tells whether there are such.
func (p *planner) endUnfit() bool {
	for i := range p.desired.Spec.Containers {
		c := &p.desired.Spec.Containers[i]
		history := p.observed.history(c.Name)
		for i, there := range history {
			// A new image that is refused is as good as none: what runs is left alone.
			changed := ofOtherSpec(c, there) && p.observed.Refusal == nil
			orphaned := p.observed.Sandbox == nil
			second := i > 0 && mayRun(history[0])
			switch {
			case there.State == runtime.StateRunning && orphaned:
				p.add(kill(there, p.observed, p.now))
			case there.State == runtime.StateRunning && (changed || second && history[0].State == runtime.StateRunning):
				deadline := p.observed.Signals[there.ID].Term.Add(grace(p.desired))
				p.add(terminate(there, p.observed, deadline, p.now))
			case there.State == runtime.StateCreated && (orphaned || changed || second):
				p.add(Action{Type: RemoveContainer, ID: there.ID})
			}
		}
	}
	p.slowDown()
	return len(p.actions) > 0
}

// slowDown puts off what is to be removed while removing does not work.
func (p *planner) slowDown() {
	if wait := teardownBackoff(p.observed, p.now); wait != nil && len(p.actions) > 0 {
		p.actions = wait
	}
}

// grace is the time between SIGTERM and SIGKILL.
func grace(pod *miniv1.MiniPod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
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
	for i := range p.desired.Spec.Containers {
		c := &p.desired.Spec.Containers[i]
		decision := decide(p.desired, c, p.observed)
		switch {
		case !decision.start || p.observed.refuses(c):
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

// decide applies restart policy and back-off to one container.
func decide(pod *miniv1.MiniPod, c *miniv1.Container, o *Observation) decision {
	d := decision{next: next{spec: c}}
	failure, failed := o.Failures[c.Name]
	failed = failed && failure.SpecHash == specHash(c)
	if failed && gaveUp(pod, failure) {
		return d
	}
	history := o.history(c.Name)
	switch {
	case len(history) == 0:
		d.start = true
	case mayRun(history[0]):
		return d // never a second one beside it
	case history[0].State == runtime.StateCreated:
		d.start, d.next.created, d.next.attempt = true, history[0].ID, attemptOf(history[0])
	default:
		last := history[0]
		d.next.attempt = attemptOf(last) + 1
		if ofOtherSpec(c, last) {
			d.start = true
		} else if d.start = restartable(pod.Spec.RestartPolicy, last); d.start {
			d.at, d.next.crashes = restart(last, o.endOf(last))
		}
	}
	if failed && failure.retryAt(true).After(d.at) {
		d.at = failure.retryAt(true)
	}
	return d
}

// gaveUp tells whether a failed start is the end of the container: with policy Never there is no second try.
func gaveUp(pod *miniv1.MiniPod, f Failure) bool {
	return f.Reason == miniv1.ReasonRunContainerError && pod.Spec.RestartPolicy == corev1.RestartPolicyNever
}

// restartable tells whether the restart policy starts an ended container again.
func restartable(policy corev1.RestartPolicy, c runtime.Container) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return c.ExitCode != 0 || c.State == runtime.StateUnknown
	}
	return true
}

// prune removes all but the two newest containers of each name: the one that counts and its predecessor.
func (p *planner) prune() {
	for i := range p.desired.Spec.Containers {
		history := p.observed.history(p.desired.Spec.Containers[i].Name)
		for _, old := range history[min(2, len(history)):] {
			if !mayRun(old) {
				p.add(Action{Type: PruneContainer, ID: old.ID})
			}
		}
	}
}
