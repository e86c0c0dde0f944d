package podplan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

const (
	postStart, preStop = miniv1.HookPostStart, miniv1.HookPreStop
)

func command(words ...string) *miniv1.LifecycleHandler {
	return &miniv1.LifecycleHandler{Exec: &miniv1.ExecAction{Command: words}}
}

func sleeps(seconds int64) *miniv1.LifecycleHandler {
	return &miniv1.LifecycleHandler{Sleep: &miniv1.SleepAction{Seconds: seconds}}
}

// lifecycle gives a container of the spec, by its name, these hooks.
func lifecycle(name string, start, stop *miniv1.LifecycleHandler) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		ContainerNamed(p, name).Lifecycle = &miniv1.Lifecycle{PostStart: start, PreStop: stop}
	}
}

func hook(id string, kind miniv1.HookKind, h Hook) func(*Observation) {
	return func(o *Observation) { o.SetHook(HookOf{id, kind}, h) }
}

func all(o Observation, changes ...func(*Observation)) Observation {
	for _, change := range changes {
		change(&o)
	}
	return o
}

func sentTo(id string, s Sent) func(*Observation) {
	return func(o *Observation) { o.Signals[id] = s }
}

func run(container string, kind miniv1.HookKind, until time.Time) Action {
	return Action{Type: RunHook, Container: container, ID: container + "-0", Hook: kind, Until: until}
}

func TestPlanPostStart(t *testing.T) {
	pod := testPod("main").With(lifecycle("main", command("a"), nil)).Obj()
	sleeping := testPod("main").With(lifecycle("main", sleeps(9), nil)).Obj()
	ready := func(changes ...func(*Observation)) Observation {
		return all(with(seen(container("main", 0, 0, runs)), image(ImagePresent)), changes...)
	}
	begin := []Action{run("main", postStart, time.Time{})}
	stop := []Action{{Type: KillContainer, ID: "main-0", Signal: StopSignal}}
	checkPlans(t, []planCase{
		{name: "begins when the container runs", pod: pod, seen: ready(), want: begin},
		{name: "not before", pod: pod, seen: with(seen(container("main", 0, 0)), image(ImagePresent)),
			want: []Action{{Type: StartContainer, Container: "main", ID: "main-0"}}},
		{name: "not without a network", pod: pod, seen: ready(func(o *Observation) { o.Address = NewObservation().Address }),
			want: []Action{{Type: AttachNetwork}}},
		{name: "once", pod: pod, seen: ready(hook("main-0", postStart, Hook{Began: at(0), Runs: true})), now: at(1000)},
		{name: "and not again", pod: pod, seen: ready(hook("main-0", postStart, Hook{Began: at(0), Ended: true}))},
		{name: "nor where an earlier agent left it", pod: pod, seen: ready(hook("main-0", postStart, Hook{Began: at(0)}))},
		{name: "but sleeping goes on", pod: sleeping, seen: ready(hook("main-0", postStart, Hook{Began: at(0)})), now: at(5), want: begin},
		{name: "one that failed ends its container", pod: pod, seen: ready(hook("main-0", postStart, Hook{Began: at(0), Ended: true, Failed: true})), want: stop},
		{name: "which has its grace period", pod: pod,
			seen: ready(hook("main-0", postStart, Hook{Began: at(0), Ended: true, Failed: true}), sentTo("main-0", Sent{Term: at(1)})),
			now:  at(2), want: []Action{{Type: Wait, Until: at(31)}}},
		{name: "and is started again, after a while, whatever its exit code", pod: testPod("main").With(lifecycle("main", command("a"), nil)).With(policy(corev1.RestartPolicyOnFailure)).Obj(),
			seen: all(with(seen(container("main", 0, 1, exited(0, 0, 3))), image(ImagePresent)), hook("main-0", postStart, Hook{Began: at(0), Ended: true, Failed: true})),
			now:  at(3), want: []Action{{Type: Wait, Until: at(13)}}},
		{name: "not one that is ended", pod: pod, seen: ready(sentTo("main-0", Sent{Term: at(1)}))},
		{name: "not while the MiniPod is deleted", pod: testPod("main").With(lifecycle("main", command("a"), nil)).Deleting(t0).Obj(), seen: ready(), want: stop},
		{name: "not beside one that does not answer", pod: pod, seen: with(seen(container("main", 0, 0, unanswered)), image(ImagePresent))},
	})
}

// What comes after a sidecar waits for its postStart.
func TestSidecarPosts(t *testing.T) {
	row := kinds{sidecar, mainOne}
	pod := testPod("proxy", "main").With(lifecycle("proxy", command("a"), nil)).Obj()
	for name, c := range map[string]struct {
		h    Hook
		want []Action
	}{
		"it runs":       {Hook{Began: t0, Runs: true}, nil},
		"it ended well": {Hook{Began: t0, Ended: true}, []Action{{Type: CreateContainer, Container: "main"}}},
	} {
		o := all(seen(container("proxy", 0, 0, runs)), image(ImagePresent), hook("proxy-0", postStart, c.h))
		if diff := cmp.Diff(c.want, row.plan(pod, o, t0)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPlanPreStop(t *testing.T) {
	hooked := lifecycle("main", nil, command("a"))
	grace := func(seconds int64) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) { p.Spec.TerminationGracePeriodSeconds = &seconds }
	}
	deleted := testPod("main").With(hooked).Deleting(t0).Obj()
	there := func(changes ...func(*Observation)) Observation {
		return all(seen(container("main", 0, 0, runs)), changes...)
	}
	began := func(h Hook) func(*Observation) { return hook("main-0", preStop, h) }
	stop, kill := Action{Type: KillContainer, ID: "main-0", Signal: StopSignal}, Action{Type: KillContainer, ID: "main-0", Signal: SIGKILL}
	wait := func(until int) []Action { return []Action{{Type: Wait, Until: at(until)}} }
	probed := testPod("main").With(hooked).With(probes("main", liveness)).Obj()
	five := int64(5)
	probed.Spec.Containers[0].LivenessProbe.TerminationGracePeriodSeconds = &five
	checkPlans(t, []planCase{
		{name: "begins before the signal", pod: deleted, seen: there(), now: at(1), want: []Action{run("main", preStop, at(31))}},
		{name: "and is waited for", pod: deleted, seen: there(began(Hook{Began: at(1), Runs: true})), now: at(30), want: wait(31)},
		{name: "then comes the signal", pod: deleted, seen: there(began(Hook{Began: at(1), Ended: true})), now: at(4), want: []Action{stop}},
		{name: "also if it failed", pod: deleted, seen: there(began(Hook{Began: at(1), Ended: true, Failed: true})), now: at(4), want: []Action{stop}},
		{name: "one clock", pod: deleted, seen: there(began(Hook{Began: at(1), Ended: true}), sentTo("main-0", Sent{Term: at(11)})), now: at(12), want: wait(31)},
		{name: "at its end", pod: deleted, seen: there(began(Hook{Began: at(1), Ended: true}), sentTo("main-0", Sent{Term: at(11)})), now: at(31), want: []Action{kill}},
		{name: "who hangs is given up", pod: deleted, seen: there(began(Hook{Began: at(1), Runs: true})), now: at(31), want: []Action{stop}},
		{name: "and the container has two seconds", pod: deleted, seen: there(began(Hook{Began: at(1), Runs: true}), sentTo("main-0", Sent{Term: at(31)})), now: at(32), want: wait(33)},
		{name: "and no more", pod: deleted, seen: there(began(Hook{Began: at(1), Runs: true}), sentTo("main-0", Sent{Term: at(31)})), now: at(33), want: []Action{kill}},
		{name: "a new agent runs it again, in the time that is left", pod: deleted, seen: there(began(Hook{Began: at(1)})), now: at(20), want: []Action{run("main", preStop, at(31))}},
		{name: "if there is any", pod: deleted, seen: there(began(Hook{Began: at(1)})), now: at(31), want: []Action{stop}},
		{name: "not after the signal", pod: deleted, seen: there(began(Hook{Began: at(1)}), sentTo("main-0", Sent{Term: at(10)})), now: at(12), want: wait(31)},
		{name: "without a grace period there is none", pod: testPod("main").With(hooked).With(grace(0)).Deleting(t0).Obj(), seen: there(), want: []Action{kill}},
		{name: "also when that is taken away meanwhile", pod: testPod("main").With(hooked).With(grace(0)).Deleting(t0).Obj(),
			seen: there(began(Hook{Began: at(1), Runs: true})), now: at(2), want: []Action{kill}},
		{name: "a shorter one counts from the same begin", pod: testPod("main").With(hooked).With(grace(5)).Deleting(t0).Obj(),
			seen: there(began(Hook{Began: at(1), Runs: true})), now: at(3), want: wait(6)},
		{name: "not for one that ended by itself", pod: deleted, seen: all(seen(container("main", 0, 0, exited(0, 0, 1)))),
			want: []Action{{Type: RemoveContainer, ID: "main-0"}}},
		{name: "who falls silent has what is left", pod: deleted, seen: all(seen(container("main", 0, 0, unanswered)), began(Hook{Began: at(1), Runs: true})),
			now: at(30), want: wait(31)},
		{name: "for another image", pod: testPod("main").With(hooked).Obj(), seen: all(seen(container("main", 0, 0, runs, outdated)), image(ImagePresent)),
			want: []Action{run("main", preStop, at(30))}},
		{name: "which is not taken back", pod: testPod("main").With(hooked).Obj(), seen: all(there(began(Hook{Began: at(1), Ended: true})), image(ImagePresent)),
			now: at(3), want: []Action{stop}},
		{name: "for a probe, in the probe's grace period", pod: probed, seen: there(health("main-0", probe.Facts{Failed: liveness})), now: at(1),
			want: []Action{run("main", preStop, at(6))}},
		{name: "which is over", pod: probed, seen: there(health("main-0", probe.Facts{Failed: liveness}), began(Hook{Began: at(1), Runs: true})), now: at(6),
			want: []Action{stop}},
		{name: "for a failed postStart", pod: testPod("main").With(lifecycle("main", command("a"), command("b"))).Obj(),
			seen: there(hook("main-0", postStart, Hook{Began: at(0), Ended: true, Failed: true})), want: []Action{run("main", preStop, at(30))}},
		{name: "gone from the API: nobody waits", pod: nil, seen: there(began(Hook{Began: at(1), Runs: true})), want: []Action{{Type: RemoveContainer, ID: "main-0"}}},
	})
}

// Hooks of all containers begin with the end of the MiniPod, as in a native Pod; the signals come in turn.
func TestPreStopInTurn(t *testing.T) {
	row := kinds{sidecar, mainOne}
	base := testPod("s", "m").With(lifecycle("s", nil, command("a"))).With(lifecycle("m", nil, command("b")))
	deleted := base.Deleting(t0).Obj()
	begun := func(o *Observation) { o.EndBegan = at(1) }
	both := func(changes ...func(*Observation)) Observation {
		return all(seen(container("s", 0, 0, runs), container("m", 0, 0, runs)), changes...)
	}
	done, running := Hook{Began: at(1), Ended: true}, Hook{Began: at(1), Runs: true}
	for name, c := range map[string]struct {
		o    Observation
		now  int
		want []Action
	}{
		"first that the end begins":   {both(), 1, []Action{{Type: BeginEnd}}},
		"then both hooks":             {both(begun), 1, []Action{run("s", preStop, at(31)), run("m", preStop, at(31))}},
		"the main one is asked first": {both(begun, hook("s-0", preStop, done), hook("m-0", preStop, done)), 2, []Action{{Type: KillContainer, ID: "m-0", Signal: StopSignal}}},
		"whatever the sidecar's hook does": {both(begun, hook("s-0", preStop, running), hook("m-0", preStop, done)), 2,
			[]Action{{Type: Wait, Until: at(31)}, {Type: KillContainer, ID: "m-0", Signal: StopSignal}}},
		"then the sidecar": {all(seen(container("s", 0, 0, runs), container("m", 0, 0, exited(0, 0, 3))), begun, hook("s-0", preStop, done)), 5,
			[]Action{{Type: KillContainer, ID: "s-0", Signal: StopSignal}}},
		"when its hook is over": {all(seen(container("s", 0, 0, runs), container("m", 0, 0, exited(0, 0, 3))), begun, hook("s-0", preStop, running)), 5,
			[]Action{{Type: Wait, Until: at(31)}}},
		"or the grace period": {all(seen(container("s", 0, 0, runs), container("m", 0, 0, exited(0, 0, 3))), begun, hook("s-0", preStop, running)), 31,
			[]Action{{Type: KillContainer, ID: "s-0", Signal: StopSignal}}},
	} {
		if diff := cmp.Diff(c.want, row.plan(deleted, c.o, at(c.now))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	over := base.With(policy(corev1.RestartPolicyNever)).Obj()
	over.DeletionTimestamp = nil
	o := all(seen(container("s", 0, 0, runs), container("m", 0, 0, exited(0, 0, 3))), begun)
	if diff := cmp.Diff([]Action{run("s", preStop, at(35))}, row.plan(over, o, at(5))); diff != "" {
		t.Errorf("a sidecar that serves nobody any more (-want +got):\n%s", diff)
	}
	two := testPod("s", "z", "m").With(lifecycle("s", nil, command("a"))).With(lifecycle("z", nil, command("b"))).With(policy(corev1.RestartPolicyNever)).Obj()
	pair := all(seen(container("s", 0, 0, runs), container("z", 0, 0, runs), container("m", 0, 0, exited(0, 0, 3))), begun)
	if diff := cmp.Diff([]Action{run("s", preStop, at(35)), run("z", preStop, at(35))}, kinds{sidecar, sidecar, mainOne}.plan(two, pair, at(5))); diff != "" {
		t.Errorf("two of them (-want +got):\n%s", diff)
	}
	o = all(o, hook("s-0", preStop, done))
	if diff := cmp.Diff([]Action{{Type: KillContainer, ID: "s-0", Signal: StopSignal}}, row.plan(over, o, at(5))); diff != "" {
		t.Errorf("and its signal (-want +got):\n%s", diff)
	}
}

func TestStatusPostStart(t *testing.T) {
	pod := testPod("main").With(lifecycle("main", command("a"), nil)).Obj()
	for name, c := range map[string]struct {
		h              *Hook
		attempt        int
		phase, summary string
		message        string
		ready          bool
	}{
		"not begun":        {nil, 0, "Pending", "ContainerCreating", "", false},
		"runs":             {&Hook{Began: t0, Runs: true}, 0, "Pending", "ContainerCreating", "", false},
		"again":            {&Hook{Began: t0, Runs: true}, 1, "Running", "ContainerCreating", "", false},
		"ended":            {&Hook{Began: t0, Ended: true}, 0, "Running", "Running", "", true},
		"failed":           {&Hook{Began: t0, Ended: true, Failed: true, Words: "no such program"}, 0, "Pending", "PostStartHookError", "no such program", false},
		"failed long ago":  {&Hook{Began: t0, Ended: true, Failed: true}, 0, "Pending", "PostStartHookError", "postStart of container main failed", false},
		"left by an agent": {&Hook{Began: t0}, 0, "Running", "Running", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			o := seen(container("main", c.attempt, 0, runs))
			if c.attempt > 0 {
				o = seen(container("main", c.attempt, 1, runs), container("main", 0, 0, exited(1, 0, 1)))
			}
			if c.h != nil {
				o.SetHook(HookOf{id("main", c.attempt), postStart}, *c.h)
			}
			status := Status(pod, &o, testNode("r"), t0)
			got := status.ContainerStatuses[0]
			message := ""
			if got.State.Waiting != nil {
				message = got.State.Waiting.Message
			}
			if string(status.Phase) != c.phase || status.Summary != c.summary || got.Ready != c.ready || *got.Started != c.ready || message != c.message {
				t.Errorf("%s, %s, ready %t, started %t, %q", status.Phase, status.Summary, got.Ready, *got.Started, message)
			}
		})
	}
}

// Probes begin after postStart. A new agent takes it from the status where nothing was written down.
func TestHeedPostStart(t *testing.T) {
	pod := testPod("main").With(lifecycle("main", command("a"), nil)).With(probes("main", readiness)).Obj()
	o := seen(container("main", 0, 0, runs))
	o.Heed(pod)
	if len(o.Health) != 0 || len(o.Hooks) != 0 {
		t.Errorf("before it: %+v, %+v", o.Health, o.Hooks)
	}
	o.SetHook(HookOf{"main-0", postStart}, Hook{Began: t0, Ended: true})
	if o.Heed(pod); len(o.Health) != 1 {
		t.Errorf("after it: %+v", o.Health)
	}
	pod.Status = Status(pod, &o, testNode("r"), t0)
	next := seen(container("main", 0, 0, runs), container("main", 1, 0, runs))
	next.Heed(pod)
	if h := next.postStart("main-0"); !h.Ended || h.Failed || next.postStart("main-1") != (Hook{}) {
		t.Errorf("by the status: %+v", next.Hooks)
	}
}

func TestHookWanted(t *testing.T) {
	o := seen(container("a", 0, 0, runs), container("b", 0, 0, exited(0, 0, 1)))
	check := func(when, id string, kind miniv1.HookKind, want bool) {
		t.Helper()
		if got := o.HookWanted(HookOf{id, kind}); got != want {
			t.Errorf("%s: %s of %s wanted: %t", when, kind, id, got)
		}
	}
	for _, kind := range []miniv1.HookKind{postStart, preStop} {
		check("it runs", "a-0", kind, true)
		check("it ended", "b-0", kind, false)
		check("it is gone", "c-0", kind, false)
	}
	o.SetHook(HookOf{"a-0", preStop}, Hook{Began: t0, Runs: true})
	check("it prepares for its end", "a-0", postStart, false)
	check("it prepares for its end", "a-0", preStop, true)
	o.Signals["a-0"] = Sent{Term: t0}
	check("it was asked to end", "a-0", preStop, false)
}
