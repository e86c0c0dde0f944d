package podplan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// life is a machine with all containers of one MiniPod of any kinds, and what became of them in truth.
type life struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Time
	pod     *miniv1.MiniPod
	kinds   kinds
	there   []Container
	signals map[string]Sent
	// hooks are those of containers, as they were written down, and which of them this agent runs.
	hooks map[HookOf]Hook
	// begun is when the end of the MiniPod began, as it was written down.
	begun time.Time
	// boots counts the starts of the machine, each with a sandbox of its own.
	boots int
	// started and asked are places of containers, in the order in which they were started, and asked to end.
	started, asked []int
	deaf           bool // containers may ignore SIGTERM, and even SIGKILL for a while, and agents die
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{t: t, random: rand.New(rand.NewPCG(seed, 7)), now: t0, signals: map[string]Sent{}, hooks: map[HookOf]Hook{}}
	var names []string
	for i := range l.random.IntN(4) {
		names, l.kinds = append(names, fmt.Sprintf("i%d", i)), append(l.kinds, []miniv1.ContainerKind{initial, sidecar}[l.random.IntN(2)])
	}
	for i := range 1 + l.random.IntN(2) {
		names, l.kinds = append(names, fmt.Sprintf("m%d", i)), append(l.kinds, mainOne)
	}
	policies := []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	l.pod = l.kinds.real(testPod(names...).With(policy(policies[l.random.IntN(3)])).Obj())
	l.pod.Finalizers = nil
	for kind, c := range l.kinds.of(l.pod) {
		if kind.Lasts() && l.chance(50) {
			c.Lifecycle = &miniv1.Lifecycle{PostStart: command("a"), PreStop: command("b")}
		}
	}
	return l
}

// endHooks lets hooks end that run.
func (l *life) endHooks() {
	for of, h := range l.hooks {
		if h.Runs && (!l.deaf || l.chance(40)) {
			h.Runs, h.Ended, h.Failed = false, true, l.deaf && of.Kind == miniv1.HookPostStart && l.chance(20)
			l.hooks[of] = h
		}
	}
}

func (l *life) chance(percent int) bool { return l.random.IntN(100) < percent }

func (l *life) row() row { return rowOf(l.kinds.of(l.pod)) }

func (l *life) kindOf(name string) miniv1.ContainerKind {
	for kind, c := range l.kinds.of(l.pod) {
		if c.Name == name {
			return kind
		}
	}
	return ""
}

func (l *life) ending() bool { return l.pod.DeletionTimestamp != nil }

// observed is the truth, but for those that nobody tells of.
func (l *life) observed(silent int) Observation {
	o := seen(slices.Clone(l.there)...)
	o.Gone = NewObservation().Gone // of no interest here
	for i := range o.Containers {
		if c := &o.Containers[i]; c.State == StateRunning && l.chance(silent) {
			c.State = StateUnanswered
		}
	}
	for _, c := range l.kinds.of(l.pod) {
		o.Images[c.Name] = Image{Ref: c.Image, State: ImagePresent}
	}
	o.Signals, o.SandboxID, o.EndBegan, o.Hooks = l.signals, l.sandbox(), l.begun, l.hooks
	return o
}

func (l *life) sandbox() string { return fmt.Sprintf("box-%d", l.boots) }

// reboot starts the machine again: all processes and what was in memory are gone.
func (l *life) reboot() {
	l.boots++
	l.signals, l.begun, l.hooks = map[string]Sent{}, time.Time{}, map[HookOf]Hook{}
	for i := range l.there {
		if c := &l.there[i]; c.State == StateRunning {
			c.State = StateUnknown
		}
	}
}

func (l *life) end(c *Container, code int) {
	c.State, c.ExitCode, c.FinishedAt = StateExited, code, l.now
}

// round plans, and does what is planned.
func (l *life) round(silent int) (worked bool) {
	l.endHooks()
	o := l.observed(silent)
	work, until := Split(l.kinds.plan(l.pod, o, l.now))
	for _, a := range work {
		l.check(a, &o)
		if l.deaf && l.chance(10) {
			l.dies(a)
			break
		}
		l.do(a)
	}
	live := map[string]int{}
	for _, c := range l.there {
		if c.State == StateRunning {
			live[c.Name]++
		}
		if live[c.Name] > 1 {
			l.t.Errorf("%v: two live attempts of %s: %+v", l.kinds, c.Name, l.there)
		}
	}
	for _, h := range l.hooks {
		if h.Runs {
			return true
		}
	}
	if len(work) == 0 && until.After(l.now) && silent == 0 {
		l.now = until
		return true
	}
	return len(work) > 0
}

func (l *life) find(id string) *Container {
	for i := range l.there {
		if l.there[i].ID == id {
			return &l.there[i]
		}
	}
	return nil
}

// check holds an action against what is known.
func (l *life) check(a Action, o *Observation) {
	r := l.row()
	switch a.Type {
	case StartContainer, CreateContainer:
		l.checkStart(a.Container, o)
	case KillContainer:
		c := l.find(a.ID)
		place, sent, last := r.placeOf(c.Name), l.signals[a.ID], r.places()-1
		if h := o.preStop(a.ID); a.Signal == StopSignal && o.posted(ContainerNamed(l.pod, c.Name), *c) && ContainerNamed(l.pod, c.Name).Lifecycle != nil &&
			!h.Ended && (h.Began.IsZero() || l.now.Before(h.Began.Add(30*time.Second))) && sent.Term.IsZero() {
			l.t.Errorf("%v: %s is asked to end before its preStop: %+v", l.kinds, c.Name, h)
		}
		if !l.ending() {
			return
		}
		for _, other := range o.Containers {
			over := !l.begun.IsZero() && !l.now.Before(l.begun.Add(30*time.Second))
			if other.MayRun() && r.placeOf(other.Name) > place && !over {
				l.t.Errorf("%v: %s ends before %s: %+v", l.kinds, c.Name, other.Name, o.Containers)
			}
		}
		least := leastGrace
		if place == last {
			least = 30 * time.Second
		}
		deadline := sent.Term.Add(least)
		if h := o.preStop(a.ID); !h.Began.IsZero() && place == last {
			deadline = later(h.Began.Add(least), sent.Term.Add(leastGrace))
		}
		if a.Signal == SIGKILL && l.now.Before(deadline) {
			l.t.Errorf("%v: %s is killed after %s", l.kinds, c.Name, l.now.Sub(sent.Term))
		}
	case RemoveContainer, PruneContainer:
		c := l.find(a.ID)
		began := o.beganToEnd(a.ID)
		if c.State == StateRunning && l.signals[a.ID].Kill.IsZero() && (began.IsZero() || l.now.Before(began.Add(leastGrace))) {
			l.t.Errorf("%v: %s is removed though it runs: %+v", l.kinds, c.Name, o.Containers)
		}
	}
}

// checkStart: what comes before has been passed, and nothing starts that is to end.
func (l *life) checkStart(name string, o *Observation) {
	r := l.row()
	here := func(c Container) bool { return c.Sandbox == "" || c.Sandbox == l.sandbox() }
	initialized := slices.ContainsFunc(l.there, func(c Container) bool {
		return l.kindOf(c.Name) == mainOne && (here(c) || c.State == StateRunning)
	})
	if l.ending() {
		l.t.Errorf("%v: %s starts in a MiniPod that ends", l.kinds, name)
	}
	if initialized && l.kindOf(name) == initial {
		l.t.Errorf("%v: %s starts beside main containers", l.kinds, name)
	}
	for _, before := range r {
		if initialized || before.place >= r.placeOf(name) {
			continue
		}
		passed := slices.ContainsFunc(o.Containers, func(c Container) bool {
			return c.Name == before.spec.Name && (before.kind == initial && c.State == StateExited && c.ExitCode == 0 && here(c) ||
				before.kind == sidecar && c.State == StateRunning && o.posted(before.spec, c))
		})
		if !passed {
			l.t.Errorf("%v: %s starts before %s is passed: %+v", l.kinds, name, before.spec.Name, o.Containers)
		}
	}
}

func (l *life) do(a Action) {
	sent := l.signals[a.ID]
	switch a.Type {
	case BeginEnd:
		l.begun = l.now
	case CancelEnd:
		l.begun = time.Time{}
	case CreateContainer:
		c := container(a.Container, a.Attempt, a.Crashes)
		c.SpecHash = SpecHash(ContainerNamed(l.pod, a.Container))
		if l.row().inTurn() {
			c.Sandbox = l.sandbox()
		}
		l.there = append(l.there, c)
	case StartContainer:
		c := l.find(a.ID)
		if c.Sandbox != "" && c.Sandbox != l.sandbox() {
			l.t.Errorf("%v: %s starts in a sandbox that is gone", l.kinds, c.Name)
		}
		c.State, c.StartedAt = StateRunning, l.now
		l.started = append(l.started, l.row().placeOf(c.Name))
	case RunHook:
		of := HookOf{a.ID, a.Hook}
		h := l.hooks[of]
		if !h.Began.IsZero() && (a.Hook == miniv1.HookPostStart || h.Ended || h.Runs) {
			l.t.Errorf("%v: %v is run again: %+v", l.kinds, of, h)
		}
		if h.Runs = true; h.Began.IsZero() {
			h.Began = l.now
		}
		l.hooks[of] = h
	case KillContainer:
		c := l.find(a.ID)
		if a.Signal == StopSignal {
			l.asked = append(l.asked, l.row().placeOf(c.Name))
			if sent.Term.IsZero() {
				sent.Term = l.now
			}
			sent.Unsure = false
		} else {
			sent.Kill = l.now
		}
		l.signals[a.ID] = sent
		if c.State == StateRunning && (!l.deaf || l.chance(60)) {
			l.end(c, 143)
		}
	case LeaveTime:
		sent.Left = l.now
		l.signals[a.ID] = sent
	case RemoveContainer, PruneContainer:
		l.there = slices.DeleteFunc(l.there, func(c Container) bool { return c.ID == a.ID })
		delete(l.signals, a.ID)
		delete(l.hooks, HookOf{a.ID, miniv1.HookPostStart})
		delete(l.hooks, HookOf{a.ID, miniv1.HookPreStop})
	}
}

// dies ends the agent just before it does something: nothing else of its plan is done. What it wrote down of a signal, or of the end, is there. The next
// agent knows what is observed, and no more; so it is in every round.
func (l *life) dies(a Action) {
	for of, h := range l.hooks {
		h.Runs = false
		l.hooks[of] = h
	}
	sent := l.signals[a.ID]
	switch {
	case a.Type == RunHook:
		l.do(a)
		h := l.hooks[HookOf{a.ID, a.Hook}]
		h.Runs = false
		l.hooks[HookOf{a.ID, a.Hook}] = h
		return
	case a.Type == KillContainer && a.Signal == StopSignal && sent.Term.IsZero():
		sent.Term, sent.Unsure = l.now, true
	case a.Type == LeaveTime:
		sent.Left = l.now
	case a.Type == BeginEnd, a.Type == CancelEnd:
		l.do(a)
		return
	default:
		return
	}
	l.signals[a.ID] = sent
}

// delete marks the MiniPod as deleted.
func (l *life) delete() {
	l.pod = l.pod.DeepCopy()
	l.pod.DeletionTimestamp = seconds(l.now)
}

// settle plays rounds, in which init containers end well, until nothing is left to do.
func (l *life) settle() {
	for range 1000 {
		worked := l.round(0)
		for i := range l.there {
			if c := &l.there[i]; c.State == StateRunning && l.kindOf(c.Name) == initial {
				l.end(c, 0)
				worked = true
			}
		}
		if !worked {
			return
		}
	}
	l.t.Fatalf("%v: it does not settle: %+v", l.kinds, l.there)
}

// TestEndingIsStartingBackwards: a MiniPod of any kinds of containers starts without trouble and is deleted. Those that last are asked to
// end in the order in which they started, backwards.
func TestEndingIsStartingBackwards(t *testing.T) {
	turns := 0
	for seed := range uint64(300) {
		l := newLife(t, seed)
		l.settle()
		l.delete()
		l.settle()
		var lasting []int
		for _, place := range l.started {
			if slices.ContainsFunc(l.row(), func(p part) bool { return p.place == place && p.kind.Lasts() }) {
				lasting = append(lasting, place)
			}
		}
		slices.Reverse(lasting)
		if diff := cmp.Diff(lasting, l.asked); diff != "" || len(l.there) > 0 {
			t.Fatalf("seed %d, %v: left %+v, asked to end (-reverse of starts +got):\n%s", seed, l.kinds, l.there, diff)
		}
		if len(lasting) > 0 && lasting[0] != lasting[len(lasting)-1] {
			turns++
		}
	}
	if turns < 100 {
		t.Errorf("only %d lives had turns to take", turns)
	}
}

// TestTurnsAreKept lets containers of all kinds crash, ignore signals, change their images and fall silent, and agents die, at random, and
// deletes their MiniPod at some time. Whatever happens, none starts before its turn or ends before it, there are never two of one name, and at last
// nothing is left.
func TestTurnsAreKept(t *testing.T) {
	starts := 0
	for seed := range uint64(600) {
		l := newLife(t, seed)
		l.deaf = true
		for range 60 {
			l.step()
		}
		l.delete()
		for range 60 {
			l.step()
		}
		l.settle()
		if len(l.there) > 0 || t.Failed() {
			t.Fatalf("seed %d, %v: left %+v", seed, l.kinds, l.there)
		}
		starts += len(l.started)
	}
	if starts < 3_000 {
		t.Errorf("only %d starts: nothing was tried", starts)
	}
}

func (l *life) step() {
	l.now = l.now.Add(time.Duration(l.random.IntN(20_000)) * time.Millisecond)
	for i := range l.there {
		c := &l.there[i]
		switch ended := l.kindOf(c.Name) == initial && l.chance(40) || l.chance(5); {
		case c.State != StateRunning || !ended:
		case l.chance(50):
			l.end(c, 0)
		default:
			l.end(c, 1)
		}
	}
	if l.chance(3) {
		l.pod = l.pod.DeepCopy()
		changed := l.row()[l.random.IntN(len(l.kinds))].spec
		changed.Image = fmt.Sprintf("echo:%d", l.random.IntN(3))
	}
	if l.chance(2) {
		l.reboot()
	}
	silent := 0
	if l.chance(30) {
		silent = 50
	}
	l.round(silent)
}

// A main container that was killed before its MiniPod was deleted, and is still there, is taken away; a sidecar that is silent keeps its time.
func TestSilentSidecarKeepsItsTime(t *testing.T) {
	o := seen(container("s", 0, 0, unanswered), container("m", 0, 0, runs), container("m", 1, 0, exited(0, 0, 1)))
	o.EndBegan, o.Signals["m-0"] = at(140), Sent{Term: at(100), Kill: at(130)}
	pod := testPod("s", "m").Deleting(at(140)).Obj()
	if diff := cmp.Diff([]Action{{Type: RemoveContainer, ID: "m-0"}, {Type: RemoveContainer, ID: "m-1"}}, kinds{sidecar, mainOne}.plan(pod, o, at(150))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o.Containers = o.Containers[:1]
	if diff := cmp.Diff([]Action{{Type: LeaveTime, ID: "s-0"}}, kinds{sidecar, mainOne}.plan(pod, o, at(151))); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
}
