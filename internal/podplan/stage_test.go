package podplan

import (
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const initial, sidecar, mainOne = miniv1.ContainerInit, miniv1.ContainerSidecar, miniv1.ContainerMain

// kinds are those of a MiniPod's containers in their order.
type kinds []miniv1.ContainerKind

// real is the MiniPod with its containers in the lists of their kinds.
func (k kinds) real(pod *miniv1.MiniPod) *miniv1.MiniPod {
	if len(pod.Spec.Containers) < len(k) {
		return pod // it is already
	}
	out := pod.DeepCopy()
	out.Spec.Containers = nil
	for i, c := range pod.Spec.Containers {
		switch k[i] {
		case mainOne:
			out.Spec.Containers = append(out.Spec.Containers, c)
			continue
		case sidecar:
			c.RestartPolicy = corev1.ContainerRestartPolicyAlways
		}
		out.Spec.InitContainers = append(out.Spec.InitContainers, c)
	}
	return out
}

func (k kinds) of(pod *miniv1.MiniPod) iter.Seq2[miniv1.ContainerKind, *miniv1.Container] {
	return k.real(pod).Spec.AllContainers()
}

// plan plans for a MiniPod whose containers are of these kinds.
func (k kinds) plan(pod *miniv1.MiniPod, o Observation, now time.Time) []Action {
	return Plan(k.real(pod), o, now)
}

func TestRow(t *testing.T) {
	pod := testPod("a", "b", "c", "d", "e").Obj()
	var places []int
	r := rowOf(kinds{initial, sidecar, initial, mainOne, mainOne}.of(pod))
	for _, p := range r {
		places = append(places, p.place)
	}
	if diff := cmp.Diff([]int{0, 1, 2, 3, 3}, places); diff != "" || r.places() != 4 {
		t.Errorf("%d places (-want +got):\n%s", r.places(), diff)
	}
	if r.placeOf("c") != 2 || r.placeOf("unknown") != 3 || row(nil).places() != 0 || row(nil).placeOf("x") != 0 {
		t.Error("places by name")
	}
}

// TestStage: the row is an init container, a sidecar, another init container, and two main ones.
func TestStage(t *testing.T) {
	row := kinds{initial, sidecar, initial, mainOne, mainOne}
	pod := testPod("i", "s", "j", "m", "n").Obj()
	done := func(name string) Container { return container(name, 0, 0, exited(0, 0, 1)) }
	crashed := func(name string) Container { return container(name, 0, 0, exited(1, 0, 1)) }
	up := func(name string) Container { return container(name, 0, 0, runs) }
	silent := func(name string) Container { return container(name, 0, 0, unanswered) }
	for name, c := range map[string]struct {
		there           []Container
		rising, falling Stage
	}{
		"nothing":                               {nil, 1, 0},
		"the first is prepared":                 {[]Container{container("i", 0, 0)}, 1, 0},
		"the first runs":                        {[]Container{up("i")}, 1, 0},
		"the first failed":                      {[]Container{crashed("i")}, 1, 0},
		"nobody tells of the first":             {[]Container{silent("i")}, 1, 0},
		"how the first ended is not known":      {[]Container{container("i", 0, 0, unknown)}, 1, 0},
		"its second try ended well":             {[]Container{crashed("i"), container("i", 1, 1, exited(0, 2, 3))}, 2, 0},
		"the first ended well":                  {[]Container{done("i")}, 2, 0},
		"the sidecar is prepared":               {[]Container{done("i"), container("s", 0, 0)}, 2, 0},
		"the sidecar runs":                      {[]Container{done("i"), up("s")}, 3, 1},
		"nobody tells of the sidecar":           {[]Container{done("i"), silent("s")}, 2, 1},
		"the sidecar crashed":                   {[]Container{done("i"), crashed("s")}, 2, 0},
		"the second init container runs":        {[]Container{done("i"), up("s"), up("j")}, 3, 2},
		"it runs, and the sidecar crashed":      {[]Container{done("i"), crashed("s"), up("j")}, 2, 2},
		"it ended well":                         {[]Container{done("i"), up("s"), done("j")}, 4, 1},
		"one main container runs":               {[]Container{done("i"), up("s"), done("j"), up("m")}, 4, 3},
		"both run, and the sidecar crashed":     {[]Container{done("i"), crashed("s"), done("j"), up("m"), up("n")}, 4, 3},
		"one main container crashed":            {[]Container{done("i"), up("s"), done("j"), up("m"), crashed("n")}, 4, 3},
		"nobody tells of a main container":      {[]Container{done("i"), up("s"), done("j"), silent("m")}, 4, 3},
		"main containers have ended":            {[]Container{done("i"), up("s"), done("j"), done("m"), crashed("n")}, 4, 1},
		"the sidecar too":                       {[]Container{done("i"), done("s"), done("j"), done("m"), crashed("n")}, 4, 0},
		"the records of the init ones are gone": {[]Container{up("s"), up("m"), up("n")}, 4, 3},
	} {
		o, r := seen(c.there...), rowOf(row.of(pod))
		if rising, falling := r.stage(&o, false), r.stage(&o, true); rising != c.rising || falling != c.falling {
			t.Errorf("%s: rises to %d and falls to %d, want %d and %d", name, rising, falling, c.rising, c.falling)
		}
	}
}

// TestPlanInTurn: an init container, a sidecar and a main one, from the first round to the last.
func TestPlanInTurn(t *testing.T) {
	row, never := kinds{initial, sidecar, mainOne}, policy(corev1.RestartPolicyNever)
	pod, once := testPod("i", "s", "m").Obj(), testPod("i", "s", "m").With(never).Obj()
	deleted := testPod("i", "s", "m").Deleting(at(100)).Obj()
	released := testPod("i", "s", "m").Phase(miniv1.PodSucceeded).Obj()
	there := func(containers ...Container) Observation {
		return with(seen(containers...), func(o *Observation) {
			o.SandboxID = "box-2"
			for _, name := range []string{"i", "s", "m"} {
				o.Images[name] = Image{Ref: "echo:test", State: ImagePresent}
			}
		})
	}
	began := func(o Observation, since int) Observation { o.EndBegan = at(since); return o }
	asked := func(o Observation, sent map[string]Sent) Observation { o.Signals = sent; return began(o, 100) }
	note := func(a ActionType) []Action { return []Action{{Type: a}} }
	create := func(name string, attempt int) []Action {
		return []Action{{Type: CreateContainer, Container: name, Attempt: attempt, Crashes: attempt}}
	}
	signal := func(name string, s Signal) []Action {
		return []Action{{Type: KillContainer, ID: id(name, 0), Signal: s}}
	}
	wait := func(seconds int) []Action { return []Action{{Type: Wait, Until: at(seconds)}} }
	elsewhere := func(c Container) Container { c.Sandbox = "box-1"; return c }
	done, failed := container("i", 0, 0, exited(0, 0, 1)), container("i", 0, 0, exited(1, 0, 1))
	s, m := container("s", 0, 0, runs), container("m", 0, 0, runs)
	mEnded := container("m", 0, 0, exited(0, 0, 100))
	for _, c := range []struct {
		name string
		pod  *miniv1.MiniPod
		seen Observation
		now  int
		want []Action
	}{
		{"the first alone", pod, there(), 0, create("i", 0)},
		{"then nothing while it runs", pod, there(container("i", 0, 0, runs)), 1, nil},
		{"again when it failed", pod, there(failed), 1, create("i", 1)},
		{"again when its server took it along, whatever the exit code", pod, there(container("i", 0, 0, exited(0, 0, 1), func(c *Container) { c.ServerFailed = true })), 1,
			[]Action{{Type: CreateContainer, Container: "i", Attempt: 1}}},
		{"not again when the MiniPod says so", once, there(failed), 1, nil},
		{"and a sidecar of it ends", once, there(failed, s), 1, note(BeginEnd)},
		{"which is noted before", once, began(there(failed, s), 1), 1, signal("s", StopSignal)},
		{"and noted, when it goes on after all", pod, began(there(done, s), 1), 2, note(CancelEnd)},
		{"another sandbox: again from the first", pod, there(elsewhere(done), elsewhere(container("s", 0, 0, unknown)), elsewhere(container("m", 0, 0, unknown))), 1,
			[]Action{{Type: CreateContainer, Container: "i", Attempt: 1}}},
		{"also when the MiniPod says Never, while no main one has failed by it", once, there(elsewhere(done)), 1,
			[]Action{{Type: CreateContainer, Container: "i", Attempt: 1}}},
		{"but not when one has", once, there(elsewhere(done), elsewhere(container("m", 0, 0, unknown))), 1, nil},
		{"nor beside a main one that runs on", pod, there(elsewhere(done), elsewhere(s), elsewhere(m)), 1, nil},
		{"what was prepared in another sandbox is taken away", pod, there(done, elsewhere(container("s", 0, 0))), 1,
			[]Action{{Type: RemoveContainer, ID: id("s", 0)}}},
		{"one that runs keeps its image", pod, there(container("i", 0, 0, runs, outdated)), 1, nil},
		{"one that does not yet does not", pod, there(container("i", 0, 0, outdated)), 1, []Action{{Type: RemoveContainer, ID: id("i", 0)}}},
		{"then the sidecar", pod, there(done), 1, create("s", 0)},
		{"then the main one", pod, there(done, s), 1, create("m", 0)},
		{"then nothing", pod, there(done, s, m), 1, nil},
		{"what was initialized with another image stays so", pod, there(container("i", 0, 0, exited(0, 0, 1), outdated), s, m), 1, nil},
		{"and so does what nobody has a record of any more", pod, there(s, m), 1, nil},
		{"also before the main one", pod, there(container("i", 0, 0, exited(0, 0, 1), outdated)), 1, create("s", 0)},
		{"a sidecar comes back beside the main one", once, there(done, container("s", 0, 0, exited(0, 0, 1)), m), 1, create("s", 1)},
		{"the main one comes back beside a sidecar that is away", pod,
			there(done, container("s", 1, 1, exited(1, 0, 1)), container("m", 0, 0, exited(1, 0, 1))), 1,
			[]Action{{Type: Wait, Until: at(11)}, create("m", 1)[0]}},
		{"over: the sidecar ends", once, began(there(done, s, mEnded), 100), 100, signal("s", StopSignal)},
		{"over: the sidecar has its time", once, asked(there(done, s, mEnded), map[string]Sent{s.ID: {Term: at(100)}}), 101, wait(130)},
		{"over: nothing is left", once, there(done, container("s", 0, 0, exited(143, 0, 101)), mEnded), 101, nil},
		{"deleted: the main one first", deleted, began(there(done, s, m), 100), 100, signal("m", StopSignal)},
		{"deleted: that it ends is noted before", deleted, there(done, s, m), 100, note(BeginEnd)},
		{"deleted: what was sent before has no part in it", deleted, with(there(done, s, mEnded), func(o *Observation) {
			o.Signals, o.EndBegan = map[string]Sent{s.ID: {Term: at(60)}}, at(100)
		}), 100, wait(130)},
		{"deleted: and nobody else while it ends", deleted, asked(there(done, s, m), map[string]Sent{m.ID: {Term: at(100)}}), 101, wait(130)},
		{"deleted: then the sidecar", deleted, asked(there(done, s, mEnded), map[string]Sent{m.ID: {Term: at(100)}}), 110, signal("s", StopSignal)},
		{"deleted: which has what is left of the time", deleted,
			asked(there(done, s, mEnded), map[string]Sent{m.ID: {Term: at(100)}, s.ID: {Term: at(110)}}), 111, wait(130)},
		{"deleted: but a little at least", deleted,
			asked(there(done, s, mEnded), map[string]Sent{m.ID: {Term: at(100)}, s.ID: {Term: at(129)}}), 130, wait(131)},
		{"deleted: time is over for all", deleted, asked(there(done, s, m), map[string]Sent{m.ID: {Term: at(100)}}), 130,
			append(signal("s", StopSignal), signal("m", SIGKILL)...)},
		{"deleted: nobody tells of the main one, and the sidecar waits", deleted, began(there(done, s, container("m", 0, 0, unanswered)), 100), 100,
			[]Action{{Type: LeaveTime, ID: m.ID}}},
		{"deleted: killing the main one did not help, its turn is not over", deleted,
			asked(there(done, s, m), map[string]Sent{m.ID: {Kill: at(99)}}), 100, signal("m", StopSignal)},
		{"deleted before the main one came", deleted, began(there(done, s), 100), 100, signal("s", StopSignal)},
		{"deleted while an init container runs", deleted, began(there(s, container("i", 0, 0, runs)), 100), 100, signal("s", StopSignal)},
		{"released: the same way", released, began(there(done, s, m), 100), 100, signal("m", StopSignal)},
		{"released: the sidecar", released, began(there(done, s, mEnded), 100), 100, signal("s", StopSignal)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, row.plan(c.pod, c.seen, at(c.now))); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
	none := testPod("i", "s", "m").Deleting(at(100)).With(func(p *miniv1.MiniPod) { p.Spec.TerminationGracePeriodSeconds = new(int64) }).Obj()
	want := append(signal("s", SIGKILL), signal("m", SIGKILL)...)
	if diff := cmp.Diff(want, row.plan(none, there(done, s, m), at(100))); diff != "" {
		t.Errorf("no grace, no turns (-want +got):\n%s", diff)
	}
}
