package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// HookOf names a hook of one container.
type HookOf struct {
	// ID of the container.
	ID   string
	Kind miniv1.HookKind
}

// Hook is how far it has come.
type Hook struct {
	// Began is when; zero if it did not. It is written down before.
	Began time.Time
	// Runs: this process is at it.
	Runs bool
	// Ended: it is over. Of a hook that an earlier agent ran, if it was written down.
	Ended bool
	// Failed: it ended badly. Words tell how, as far as this process knows.
	Failed bool
	Words  string
}

// SetHook notes how far a hook has come.
func (o *Observation) SetHook(of HookOf, h Hook) {
	if o.Hooks == nil {
		o.Hooks = map[HookOf]Hook{}
	}
	o.Hooks[of] = h
}

// Recorded tells whether anything of a container's life was written down.
func (o *Observation) Recorded(id string) bool {
	_, asked := o.Signals[id]
	_, after := o.Hooks[HookOf{id, miniv1.HookPostStart}]
	_, before := o.Hooks[HookOf{id, miniv1.HookPreStop}]
	return asked || after || before
}

// HookWanted tells whether somebody still waits for a hook that runs: its container runs, and was not asked to end. A postStart is given up
// already when preStop begins.
func (o *Observation) HookWanted(of HookOf) bool {
	i := o.IndexOf(of.ID)
	if i < 0 || !o.Containers[i].MayRun() {
		return false
	}
	sent := o.Signals[of.ID]
	return sent.Term.IsZero() && sent.Kill.IsZero() && (of.Kind == miniv1.HookPreStop || o.preStop(of.ID).Began.IsZero())
}

func (o *Observation) postStart(id string) Hook { return o.Hooks[HookOf{id, miniv1.HookPostStart}] }

func (o *Observation) preStop(id string) Hook { return o.Hooks[HookOf{id, miniv1.HookPreStop}] }

// posted tells whether postStart of a container that runs has ended well, as far as anybody knows. One that an earlier agent began, and of
// whose end nothing is written down, is not run again, because it may have been; of sleeping the rest can be had.
func (o *Observation) posted(spec *miniv1.Container, c Container) bool {
	hook, h := spec.Hook(miniv1.HookPostStart), o.postStart(c.ID)
	switch {
	case hook == nil:
		return true
	case h.Ended:
		return !h.Failed
	}
	return h.lost() && hook.Sleep == nil
}

// lost tells whether somebody else began it, who is gone.
func (h Hook) lost() bool { return !h.Began.IsZero() && !h.Ended && !h.Runs }

// recallPostStart takes it from the status of a container that its postStart has ended well: else it would not say that the container runs. So
// it is known also where nothing could be written down.
func (o *Observation) recallPostStart(pod *miniv1.MiniPod, spec *miniv1.Container, c Container) {
	if spec.Hook(miniv1.HookPostStart) == nil || o.postStart(c.ID) != (Hook{}) || !publishedRunning(pod, spec.Name, c.ID) {
		return
	}
	o.SetHook(HookOf{c.ID, miniv1.HookPostStart}, Hook{Began: c.StartedAt, Ended: true})
}

// runPostStart begins postStart of the containers that were started.
func (p *planner) runPostStart() {
	for _, x := range p.row {
		history := p.observed.history(x.spec.Name)
		if x.spec.Hook(miniv1.HookPostStart) == nil || len(history) == 0 || history[0].State != StateRunning {
			continue
		}
		c := history[0]
		h := p.observed.postStart(c.ID)
		of := HookOf{c.ID, miniv1.HookPostStart}
		if (h.Began.IsZero() || h.lost()) && !p.observed.posted(x.spec, c) && p.observed.HookWanted(of) {
			p.add(Action{Type: RunHook, Container: c.Name, ID: c.ID, Hook: of.Kind})
		}
	}
}

// runPreStop has preStop of a container run, within the grace period, which begins with it, and tells whether it is still waited for. One that
// an earlier agent began is run again in the time that is left: that a hook may be delivered twice is Kubernetes' word for it.
func (p *planner) runPreStop(c Container, period time.Duration) (waits bool) {
	spec, h := p.row.specOf(c.Name), p.observed.preStop(c.ID)
	switch {
	case spec == nil || spec.Hook(miniv1.HookPreStop) == nil || c.State != StateRunning || period == 0:
		return false
	case h.Ended, !p.observed.Signals[c.ID].Term.IsZero():
		return false
	case h.Began.IsZero():
		p.add(Action{Type: RunHook, Container: c.Name, ID: c.ID, Hook: miniv1.HookPreStop, Until: p.now.Add(period)})
		return true
	}
	end := h.Began.Add(period)
	switch {
	case !p.now.Before(end):
		return false
	case h.lost():
		p.add(Action{Type: RunHook, Container: c.Name, ID: c.ID, Hook: miniv1.HookPreStop, Until: end})
	default:
		p.add(Action{Type: Wait, Until: end})
	}
	return true
}

// specOf is a container of the row by its name; nil if it is not there.
func (r row) specOf(name string) *miniv1.Container {
	for _, p := range r {
		if p.spec.Name == name {
			return p.spec
		}
	}
	return nil
}

// beganToEnd is when the grace period of a container began: with its preStop, or its stop signal, or when it was found that nobody tells of
// it; zero if it did not.
func (o *Observation) beganToEnd(id string) time.Time {
	if h := o.preStop(id); !h.Began.IsZero() {
		return h.Began
	}
	return o.Signals[id].began()
}

// ownDeadline is when a container that was asked to end is made to, by its own grace period. One whose preStop took most of that has a little
// more.
func (o *Observation) ownDeadline(id string, period time.Duration) time.Time {
	term, h := o.Signals[id].Term, o.preStop(id)
	if h.Began.IsZero() {
		return term.Add(period)
	}
	return later(h.Began.Add(period), term.Add(leastGrace))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
