package podworker

import (
	"slices"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// killAgain is the time after which an unanswered SIGKILL is sent again.
const killAgain = 5 * time.Second

// planDeletion ends a MiniPod in order: containers get SIGTERM, at the deadline SIGKILL, and are then removed, whether they
// still run or not. SIGKILL has its own step because removals take turns: where many MiniPods end at once, none runs on until
// its turn comes. Where it fails, removing, which kills too, is the next try.
//
// The grace period is counted from the first SIGTERM. When the API server marked the MiniPod as deleted does not matter: its
// clock is another machine's, and counts whole seconds.
func planDeletion(desired *miniv1.MiniPod, o Observation, now time.Time) []Action {
	period := grace(desired)
	_, failed := o.Failures[teardown]
	var actions []Action
	for _, c := range o.Containers {
		if !mayRun(c) {
			continue
		}
		sent := o.Signals[c.ID]
		deadline := sent.Term.Add(period)
		switch {
		case c.State == runtime.StateUnanswered:
			actions = append(actions, leaveTime(c, sent, period, now)...)
		case period > 0 && (sent.Term.IsZero() || now.Before(deadline)):
			actions = append(actions, terminate(c, &o, deadline, now))
		case sent.Kill.IsZero() && !failed:
			actions = append(actions, kill(c, &o, now))
		}
	}
	if len(actions) > 0 {
		return actions
	}
	return planRemoval(desired, o)
}

// leaveTime leaves its grace period to a container that nobody tells of; then it is removed. Where no SIGTERM was sent, the period is
// counted from when this is first done.
func leaveTime(c runtime.Container, sent Sent, period time.Duration, now time.Time) []Action {
	since := sent.Term
	if since.IsZero() {
		since = sent.Left
	}
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

// terminate sends SIGTERM, waits for the deadline, and then sends SIGKILL.
func terminate(c runtime.Container, o *Observation, deadline, now time.Time) Action {
	switch {
	case o.Signals[c.ID].Term.IsZero(), o.Signals[c.ID].Unsure && now.Before(deadline):
		return Action{Type: KillContainer, ID: c.ID, Signal: runtime.SIGTERM}
	case now.Before(deadline):
		return Action{Type: Wait, Until: deadline}
	}
	return kill(c, o, now)
}

// kill sends SIGKILL, now and then.
func kill(c runtime.Container, o *Observation, now time.Time) Action {
	if again := o.Signals[c.ID].Kill.Add(killAgain); now.Before(again) {
		return Action{Type: Wait, Until: again}
	}
	return Action{Type: KillContainer, ID: c.ID, Signal: runtime.SIGKILL}
}

// planRemoval takes everything away: containers, then network and files, then the sandbox, then the finalizer. Nothing is
// asked for longer than its own step takes.
func planRemoval(desired *miniv1.MiniPod, o Observation) []Action {
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

// planRelease gives back what a MiniPod that ended for good does not need. Its logs stay until it is deleted.
func planRelease(desired *miniv1.MiniPod, o Observation, now time.Time) []Action {
	var actions []Action
	for _, c := range o.Containers {
		switch c.State {
		case runtime.StateUnanswered:
			actions = append(actions, Action{Type: Wait, Until: now.Add(unavailableRetry)})
		case runtime.StateRunning:
			actions = append(actions, terminate(c, &o, o.Signals[c.ID].Term.Add(grace(desired)), now))
		}
	}
	if len(actions) > 0 {
		return actions
	}
	o.Gone.Files = true
	return planRemoval(nil, o)
}

// teardownBackoff waits after a step that failed.
func teardownBackoff(o *Observation, now time.Time) []Action {
	if failure, failed := o.Failures[teardown]; failed && failure.retryAt(false).After(now) {
		return []Action{{Type: Wait, Until: failure.retryAt(false)}}
	}
	return nil
}
