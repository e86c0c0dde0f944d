package podplan

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func unanswered(c *Container) { c.State = StateUnanswered }

// left notes when the first container of an observation was left its time.
func left(o Observation, since time.Time) Observation {
	o.Signals = map[string]Sent{o.Containers[0].ID: {Left: since}}
	return o
}

func TestPlanWithoutAnswer(t *testing.T) {
	ready := func(containers ...Container) Observation {
		return with(seen(containers...), image(ImagePresent))
	}
	kill := []Action{{Type: KillContainer, ID: id("main", 0), Signal: StopSignal}}
	checkPlans(t, []planCase{
		{name: "who does not answer is waited for", pod: testPod().Obj(), seen: ready(container("main", 0, 0, unanswered))},
		{name: "also when an older one is known to have ended", pod: testPod().Obj(),
			seen: ready(container("main", 0, 0, exited(1, 0, 1)), container("main", 1, 1, unanswered)), now: at(1000)},
		{name: "also when a newer one has ended", pod: testPod().Obj(),
			seen: ready(container("main", 0, 0, unanswered), container("main", 1, 1, exited(1, 0, 1))), now: at(1000)},
		{name: "also with another image", pod: testPod().Obj(), seen: ready(container("main", 0, 0, unanswered, outdated))},
		{name: "an older one that runs beside a newer is ended", pod: testPod().Obj(),
			seen: ready(container("main", 0, 0, runs), container("main", 1, 0, runs)), want: kill},
		{name: "unless it is not certain that the newer runs", pod: testPod().Obj(),
			seen: ready(container("main", 0, 0, runs), container("main", 1, 0, unanswered))},
		{name: "one that runs is kept, whatever became of a newer", pod: testPod().Obj(),
			seen: ready(container("main", 0, 0, runs), container("main", 1, 0, exited(1, 0, 1))), now: at(1000)},
		{name: "and a newer is not started beside it", pod: testPod().Obj(),
			seen: ready(container("main", 0, 0, runs), container("main", 1, 0)), want: []Action{{Type: RemoveContainer, ID: id("main", 1)}}},
		{name: "a deletion leaves it its time, whatever the time is by the API server's clock", pod: testPod().Deleting(at(-600)).Obj(),
			seen: ready(container("main", 0, 0, unanswered)), now: at(5), want: []Action{{Type: LeaveTime, ID: id("main", 0)}}},
		{name: "from when that began", pod: testPod().Deleting(at(-600)).Obj(),
			seen: left(ready(container("main", 0, 0, unanswered)), at(5)), now: at(34), want: []Action{{Type: Wait, Until: at(35)}}},
		{name: "and no more", pod: testPod().Deleting(at(600)).Obj(), seen: left(ready(container("main", 0, 0, unanswered)), at(5)),
			now: at(35), want: []Action{{Type: RemoveContainer, ID: id("main", 0)}}},
		{name: "who is heard of again is asked to end, and has its whole time", pod: testPod().Deleting(t0).Obj(),
			seen: left(ready(container("main", 0, 0, runs)), at(5)), now: at(60), want: kill},
	})
}

// TestNeverTwo lets a container crash, its images change, and whoever knows of it fall silent, at random, for many steps, and does
// what is planned. Whatever was seen, there are never two of it, and none is ended because somebody did not answer.
func TestNeverTwo(t *testing.T) {
	for seed := range uint64(300) {
		w := world{t: t, random: rand.New(rand.NewPCG(seed, 1)), now: t0, live: map[int]bool{}, ended: map[int]time.Time{}}
		for range 200 {
			w.step()
		}
		if w.starts < 3 {
			t.Fatalf("seed %d: only %d starts in 200 steps: nothing was tried", seed, w.starts)
		}
		if t.Failed() {
			return
		}
	}
}

// world is a machine with one container of a MiniPod, in several attempts.
type world struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Time
	there   []int // attempts that have a record
	live    map[int]bool
	ended   map[int]time.Time
	signals map[string]Sent
	starts  int
}

func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

// observed is what a look shows: of each attempt the truth, or that nobody answered.
func (w *world) observed() Observation {
	o := with(seen(), image(ImagePresent))
	silent := w.chance(40)
	for _, attempt := range w.there {
		c := container("main", attempt, 0)
		end, hasEnded := w.ended[attempt]
		switch {
		case silent && (w.live[attempt] || hasEnded && w.chance(50)):
			unanswered(&c)
		case w.live[attempt]:
			runs(&c)
		case hasEnded && w.chance(20):
			unknown(&c)
		case hasEnded:
			c.State, c.ExitCode, c.StartedAt, c.FinishedAt = StateExited, 1, end, end
		}
		o.Containers = append(o.Containers, c)
	}
	if w.signals != nil {
		o.Signals = w.signals
	}
	return o
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.random.IntN(400)) * time.Second)
	for attempt := range w.live {
		if w.chance(20) {
			w.end(attempt)
		}
	}
	o := w.observed()
	work, _ := Split(Plan(testPod().Obj(), o, w.now))
	w.signals = o.Signals
	for _, a := range work {
		w.do(a, o)
	}
	if len(w.live) > 1 {
		w.t.Errorf("two live attempts: %v after %v, seen %+v", w.live, work, o.Containers)
	}
}

func (w *world) end(attempt int) {
	delete(w.live, attempt)
	w.ended[attempt] = w.now
}

func (w *world) do(a Action, o Observation) {
	attempt := -1
	if i := o.IndexOf(a.ID); i >= 0 {
		attempt = o.Containers[i].Attempt
	}
	switch a.Type {
	case CreateContainer:
		w.there = append(w.there, a.Attempt)
	case StartContainer:
		w.live[attempt] = true
		w.starts++
	case KillContainer, RemoveContainer, PruneContainer:
		if w.live[attempt] {
			w.t.Errorf("%v ends the one that runs; seen %+v", a, o.Containers)
		}
		var left []int
		for _, there := range w.there {
			if there != attempt {
				left = append(left, there)
			}
		}
		w.there = left
	}
}

func TestStatusWithoutAnswer(t *testing.T) {
	pod := testPod().Obj()
	o := seen(container("main", 1, 0, unanswered), container("main", 0, 0, exited(3, 0, 1)))
	status := Status(pod, &o, testNode("containerd"), t0)
	c := status.ContainerStatuses[0]
	got := []any{string(status.Phase), status.ReadyContainers, c.State.Waiting.Reason, c.State.Waiting.Message, c.LastState.Terminated.ExitCode, c.RestartCount}
	want := []any{"Running", "0/1", miniv1.ReasonContainerStatusUnknown, messageUnanswered, int32(3), int32(1)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}
