package podplan

import (
	"fmt"
	"maps"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// hookedLife is a machine with one container that has both hooks, and what became of it in truth. Agents die at one step.
type hookedLife struct {
	t    *testing.T
	name string
	pod  *miniv1.MiniPod
	now  time.Time
	c    Container
	// written is what is written down: hooks that began and ended, and signals.
	hooks   map[HookOf]Hook
	signals map[string]Sent
	// mine are the hooks that this agent runs, and when they end; an earlier agent's go on in the container, and nobody hears of their ends.
	mine map[HookOf]time.Time
	// takes is how long hooks take; deaf whether the container ignores its stop signal.
	takes map[miniv1.HookKind]time.Duration
	deaf  bool
	steps int
	// dieAt is the step at which the agent dies: early, when it has written down what it does and not done it, or late, when it has done it
	// and not said so.
	dieAt   int
	late    bool
	gone    bool
	posts   int       // runs of postStart
	stopped time.Time // the first preStop began
	asked   time.Time
	killed  time.Time
}

const hookedGrace = 30 * time.Second

func (l *hookedLife) observed() Observation {
	o := all(seen(l.c), image(ImagePresent))
	o.Gone = NewObservation().Gone
	if l.gone {
		o.Containers = nil
	}
	for of, h := range l.hooks {
		_, h.Runs = l.mine[of]
		o.SetHook(of, h)
	}
	maps.Copy(o.Signals, l.signals)
	return o
}

// dies tells whether the agent dies now.
func (l *hookedLife) dies(late bool) bool {
	if !late {
		l.steps++
	}
	if l.steps != l.dieAt || late != l.late {
		return false
	}
	l.mine = map[HookOf]time.Time{}
	return true
}

func (l *hookedLife) do(a Action) {
	switch a.Type {
	case RunHook:
		of := HookOf{a.ID, a.Hook}
		h := l.hooks[of]
		if h.Began.IsZero() {
			h.Began = l.now
			l.hooks[of] = h
		}
		if a.Hook == miniv1.HookPreStop && l.stopped.IsZero() {
			l.stopped = l.now
		}
		if l.dies(false) {
			return
		}
		if a.Hook == miniv1.HookPostStart {
			l.posts++
		}
		if l.mine[of] = l.now.Add(l.takes[a.Hook]); l.dies(true) {
			return
		}
	case KillContainer:
		l.signal(a)
	case RemoveContainer:
		if l.c.State == StateRunning {
			l.t.Errorf("%s: removed while it runs", l.name)
		}
		l.gone = true
	}
}

func (l *hookedLife) signal(a Action) {
	sent := l.signals[a.ID]
	if a.Signal == StopSignal && sent.Term.IsZero() {
		sent.Term, sent.Unsure = l.now, true
		l.signals[a.ID] = sent
	}
	if l.dies(false) {
		return
	}
	if a.Signal == StopSignal {
		l.asked = later(l.asked, l.now)
		if h := l.hooks[HookOf{a.ID, miniv1.HookPreStop}]; !h.Ended && l.now.Before(h.Began.Add(hookedGrace)) {
			l.t.Errorf("%s: asked to end before its preStop is over: %+v", l.name, h)
		}
	} else {
		l.killed = l.now
	}
	if a.Signal == SIGKILL || !l.deaf {
		l.c.State, l.c.FinishedAt = StateExited, l.now
	}
	if l.dies(true) {
		return
	}
	if sent.Unsure = false; a.Signal == SIGKILL {
		sent.Kill = l.now
	}
	l.signals[a.ID] = sent
}

// hears notes what ended by now.
func (l *hookedLife) hears() {
	for of, end := range l.mine {
		if l.now.Before(end) {
			continue
		}
		if l.dies(false) {
			return
		}
		h := l.hooks[of]
		h.Ended = true
		l.hooks[of] = h
		delete(l.mine, of)
		if l.dies(true) {
			return
		}
	}
}

// settle goes on until there is nothing to do, and nothing to wait for.
func (l *hookedLife) settle() {
	for range 200 {
		l.hears()
		work, until := Split(Plan(l.pod, l.observed(), l.now))
		for _, a := range work {
			l.do(a)
		}
		if len(work) > 0 {
			continue
		}
		for of, end := range l.mine {
			if l.observedWants(of) && (until.IsZero() || end.Before(until)) {
				until = end
			}
		}
		if until.IsZero() {
			return
		}
		l.now = later(l.now, until)
	}
	l.t.Errorf("%s: it does not settle: %+v %+v", l.name, l.hooks, l.signals)
}

func (l *hookedLife) observedWants(of HookOf) bool {
	o := l.observed()
	return o.HookWanted(of)
}

// TestHooksSurviveAgents plays a life with both hooks through, once for each step at which an agent can die. Whatever happens, postStart is run at most once,
// the stop signal comes after preStop or the grace period, SIGKILL not before the end of that, and the life ends in time.
func TestHooksSurviveAgents(t *testing.T) {
	lives := 0
	for _, takes := range []time.Duration{3 * time.Second, time.Hour} {
		for _, deaf := range []bool{false, true} {
			for _, late := range []bool{false, true} {
				for dieAt := range 20 {
					l := &hookedLife{t: t, now: t0, c: container("main", 0, 0, runs), dieAt: dieAt, late: late, deaf: deaf,
						name:  fmt.Sprintf("preStop takes %s, deaf %t, dies at %d, late %t", takes, deaf, dieAt, late),
						pod:   testPod("main").With(lifecycle("main", command("a"), command("b"))).Obj(),
						hooks: map[HookOf]Hook{}, signals: map[string]Sent{}, mine: map[HookOf]time.Time{},
						takes: map[miniv1.HookKind]time.Duration{postStart: 3 * time.Second, preStop: takes}}
					l.pod.Finalizers = nil
					l.settle()
					if o := l.observed(); !o.posted(&l.pod.Spec.Containers[0], l.c) {
						t.Errorf("%s: it waits for its postStart: %+v", l.name, l.hooks)
					}
					l.now = l.now.Add(time.Minute)
					l.pod = l.pod.DeepCopy()
					l.pod.DeletionTimestamp = seconds(l.now)
					deleted := l.now
					l.settle()
					l.check(deleted, dieAt == 0 || dieAt > l.steps)
					lives++
				}
			}
		}
	}
	if lives != 160 {
		t.Errorf("%d lives", lives)
	}
}

// check looks back on a life; quiet is one in which no agent died.
func (l *hookedLife) check(deleted time.Time, quiet bool) {
	if !l.gone {
		l.t.Errorf("%s: it is left", l.name)
	}
	if l.posts > 1 || quiet && l.posts != 1 {
		l.t.Errorf("%s: postStart ran %d times", l.name, l.posts)
	}
	if l.stopped.IsZero() || l.asked.IsZero() || l.asked.Before(l.stopped) {
		l.t.Errorf("%s: preStop at %s, asked at %s", l.name, l.stopped.Sub(deleted), l.asked.Sub(deleted))
	}
	if !l.killed.IsZero() && (l.killed.Before(l.stopped.Add(hookedGrace)) || !l.deaf) {
		l.t.Errorf("%s: killed after %s", l.name, l.killed.Sub(l.stopped))
	}
	if took := l.now.Sub(deleted); took > hookedGrace+leastGrace+killAgain {
		l.t.Errorf("%s: its end took %s", l.name, took)
	}
}
