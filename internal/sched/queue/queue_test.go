package queue_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/internal/sched/framework"
	. "miniplane.dev/miniplane/internal/sched/queue"
)

// clock is a time that stands until it is moved.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newQueue() (*Queue, *clock) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return New(c.now), c
}

// pod makes a Pod of a class, created so many seconds after the others.
func pod(name, class string, created int) *framework.Pod {
	return &framework.Pod{NamespacedName: types.NamespacedName{Name: name}, UID: types.UID(name), Class: class,
		Created: time.Unix(int64(created), 0)}
}

// drain pops until nothing is left, and lists the names.
func drain(q *Queue) []string {
	var out []string
	for p, ok := q.Pop(); ok; p, ok = q.Pop() {
		out = append(out, p.Name)
	}
	return out
}

func helpsClass(class string) Event {
	return Event{Helps: func(p *framework.Pod, wait Wait) bool { return p.Class == class && wait == ForNode }}
}

func want(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOldestFirstThenInOrderOfArrival(t *testing.T) {
	q, _ := newQueue()
	q.Add(pod("young", "a", 9))
	q.Add(pod("first", "b", 5))
	q.Add(pod("second", "a", 5))
	q.Add(pod("old", "a", 1))
	q.Add(pod("old", "a", 1)) // twice is once
	want(t, drain(q), []string{"old", "first", "second", "young"})
	want(t, q.Depths(), Depths{InFlight: 4})
	if !q.Listens() {
		t.Error("nobody listens while some are in flight")
	}
}

func TestEventWakesTheFirstOfEachClassItHelps(t *testing.T) {
	q, _ := newQueue()
	for i, name := range []string{"a1", "a2", "b1"} {
		q.Add(pod(name, name[:1], i))
	}
	for _, name := range drain(q) {
		q.Park(types.UID(name), ForNode)
	}
	want(t, q.Depths(), Depths{Waiting: 3})
	want(t, q.Wake(helpsClass("c")), 0)
	want(t, q.Wake(helpsClass("a")), 1)
	want(t, drain(q), []string{"a1"})
	q.Placed(pod("a1", "a", 0)) // the baton
	q.Delete("a1")
	want(t, drain(q), []string{"a2"})
	q.Park("a2", ForQuota) // waits for something else now
	want(t, q.Wake(helpsClass("a")), 0)
	want(t, q.Wake(Always), 2)
	want(t, drain(q), []string{"a2", "b1"})
}

func TestBatonIsPassedWhenTheNextIsDeleted(t *testing.T) {
	q, _ := newQueue()
	for i, name := range []string{"a1", "a2", "a3"} {
		q.Add(pod(name, "a", i))
	}
	for _, name := range drain(q) {
		q.Park(types.UID(name), ForNode)
	}
	q.Delete("a2") // a waiting one has no baton
	want(t, q.Depths(), Depths{Waiting: 2})
	q.Wake(helpsClass("a"))
	q.Delete("a1")
	want(t, drain(q), []string{"a3"})
}

// Who was woken and is deleted before it was decided leaves its turn to the next, wherever it is.
func TestBatonIsPassedWhenOneInFlightIsDeleted(t *testing.T) {
	for name, meanwhile := range map[string]func(*Queue){
		"in flight":   func(*Queue) {},
		"backing off": func(q *Queue) { q.Backoff("a1") },
	} {
		t.Run(name, func(t *testing.T) {
			q, _ := newQueue()
			for i, name := range []string{"a1", "a2", "a3"} {
				q.Add(pod(name, "a", i))
			}
			for _, name := range drain(q) {
				q.Park(types.UID(name), ForNode)
			}
			q.Wake(helpsClass("a"))
			want(t, drain(q), []string{"a1"})
			meanwhile(q)
			q.Delete("a1")
			want(t, drain(q), []string{"a2"})
			q.Placed(pod("a2", "a", 1))
			want(t, drain(q), []string{"a3"})
			q.Delete("a2") // it passed the baton already
			q.Park("a3", ForNode)
			want(t, q.Depths(), Depths{Waiting: 1})
		})
	}
}

// manyLabels are more than are told apart one by one.
const manyLabels = 65

func labelled(p *framework.Pod, labels map[string]string) *framework.Pod {
	p.Labels = labels
	return p
}

// Labels make no class of their own until somebody is told apart by them. Then also those are asked who were not, since another was asked for them.
func TestLabelsThatTellApart(t *testing.T) {
	for name, many := range map[string]int{"a label": 1, "more than are told apart one by one": manyLabels} {
		t.Run(name, func(t *testing.T) {
			q, _ := newQueue()
			for i, name := range []string{"a1", "a2", "a3"} {
				q.Add(labelled(pod(name, "a", i), map[string]string{"index": fmt.Sprint(i / 2), "other": fmt.Sprint(i)}))
			}
			for _, name := range drain(q) {
				q.Park(types.UID(name), ForNode)
			}
			q.Wake(helpsClass("a"))
			want(t, drain(q), []string{"a1"})
			labels := []string{"index"}
			for i := 1; i < many; i++ {
				labels = append(labels, fmt.Sprint("l", i))
			}
			q.Distinguish(labels)
			apart := []string{"a2", "a3"}
			want(t, drain(q), apart)
			for _, name := range append(apart, "a1") {
				q.Park(types.UID(name), ForNode)
			}
			q.Distinguish([]string{"index"})
			want(t, q.Depths(), Depths{Waiting: 3})
			q.Wake(helpsClass("a"))
			woken := []string{"a1", "a3"}
			if many == manyLabels { // also by the other label
				woken = []string{"a1", "a2", "a3"}
			}
			want(t, drain(q), woken)
		})
	}
}

// A namespace whose decisions take long lets others go first, until it has paid for that; alone it is not held up.
func TestWhoTakesLongGoesLast(t *testing.T) {
	q, c := newQueue()
	for i, namespace := range []string{"slow", "slow", "slow", "slower", "quick", "quick"} {
		p := pod(fmt.Sprint(namespace, i), namespace, i)
		p.Namespace = namespace
		q.Add(p)
	}
	pop := func(took time.Duration) string {
		p, ok := q.Pop()
		if !ok {
			return ""
		}
		q.Spent(p.Namespace, took)
		return p.Name
	}
	want(t, pop(300*time.Millisecond), "slow0")
	want(t, pop(400*time.Millisecond), "slower3")
	want(t, pop(time.Millisecond), "quick4")
	want(t, q.Depths(), Depths{Active: 3, InFlight: 3})
	q.Delete("slow1")
	want(t, pop(time.Millisecond), "quick5")
	want(t, pop(time.Second), "slow2")
	want(t, q.Depths(), Depths{InFlight: 5})
	q.Delete("slow2")
	for i, namespace := range []string{"slow", "slower", "quick"} {
		p := pod(fmt.Sprint(namespace, 10+i), namespace, 10+i)
		p.Namespace = namespace
		q.Add(p)
	}
	want(t, pop(0), "quick12")
	c.t = c.t.Add(4 * time.Second)
	want(t, pop(0), "slower11") // has paid
	want(t, pop(0), "slow10")
	want(t, pop(0), "")
}

// What changes about a MiniPod while its binding is written is what waits when the binding fails.
func TestRenew(t *testing.T) {
	q, c := newQueue()
	added := c.t
	q.Add(pod("a", "old", 0))
	q.Renew(pod("a", "not yet", 0)) // nobody writes about it
	drain(q)
	q.Renew(pod("a", "new", 0))
	q.Backoff("a")
	c.t = c.t.Add(time.Minute)
	p, _ := q.Pop()
	want(t, p.Class, "new")
	want(t, p.Queued, added) // the wait counts from the first sight
	q.Park("a", ForNode)
	want(t, q.Wake(helpsClass("new")), 1)
	q.Renew(pod("nobody", "x", 0))
	want(t, q.Depths(), Depths{Active: 1})
}

func TestEventDuringFlightIsNotLost(t *testing.T) {
	q, _ := newQueue()
	q.Add(pod("x", "x", 0))
	q.Add(pod("a", "a", 1))
	drain(q)
	q.Wake(helpsClass("a"))
	q.Park("x", ForNode)
	q.Park("a", ForNode)
	want(t, q.Depths(), Depths{Active: 1, Waiting: 1})
	want(t, drain(q), []string{"a"})
	q.Park("a", ForNode) // the event came before this attempt
	want(t, q.Depths(), Depths{Waiting: 2})
}

func TestMoreEventsThanAreKept(t *testing.T) {
	q, _ := newQueue()
	q.Add(pod("a", "a", 0))
	drain(q)
	for range 5000 {
		q.Wake(helpsClass("other"))
	}
	q.Park("a", ForNode)
	want(t, q.Depths(), Depths{Active: 1})
}

func TestBackoff(t *testing.T) {
	q, c := newQueue()
	q.Add(pod("a", "a", 0))
	if _, ok := q.NextRetry(); ok {
		t.Error("nothing backs off yet")
	}
	for _, seconds := range []int{1, 2, 4, 8, 10, 10} {
		want(t, drain(q), []string{"a"})
		q.Backoff("a")
		want(t, q.Depths(), Depths{Backoff: 1})
		at, _ := q.NextRetry()
		want(t, at.Sub(c.t), time.Duration(seconds)*time.Second)
		c.t = at.Add(-1)
		want(t, drain(q), []string(nil))
		c.t = at
	}
	want(t, drain(q), []string{"a"})
	q.Park("a", ForNode) // an answer ends the row of errors
	q.Wake(Always)
	drain(q)
	q.Backoff("a")
	at, _ := q.NextRetry()
	want(t, at.Sub(c.t), time.Second)
	q.Delete("a")
	want(t, q.Depths(), Depths{})
}

func TestUnknownOnesAreIgnored(t *testing.T) {
	q, _ := newQueue()
	q.Park("nobody", ForNode)
	q.Backoff("nobody")
	q.Delete("nobody")
	q.Add(pod("a", "a", 0))
	q.Park("a", ForNode) // not in flight
	q.Backoff("a")
	want(t, q.Depths(), Depths{Active: 1})
	if q.Listens() {
		t.Error("nothing waits")
	}
}

func TestReadyIsSignalled(t *testing.T) {
	q, _ := newQueue()
	q.Add(pod("a", "a", 0))
	q.Add(pod("b", "a", 0))
	select {
	case <-q.Ready():
	default:
		t.Error("no signal")
	}
}

// A world with places of one size: whatever happens in whatever order, when it comes to rest no place is free while
// somebody waits.
func TestNoPlaceStaysFreeWhileSomebodyWaits(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		q, _ := newQueue()
		free, placed, next := 3, []types.UID{}, 0
		freed := Event{Helps: func(*framework.Pod, Wait) bool { return free > 0 }}
		attempt := func() bool {
			p, ok := q.Pop()
			if !ok {
				return false
			}
			if r.IntN(6) == 0 { // deleted by its user before it is decided, whatever happens meanwhile
				q.Delete(p.UID)
				q.Park(p.UID, ForNode)
				return true
			}
			fits := free > 0
			if fits {
				free--
				q.Placed(p)
			}
			if r.IntN(3) == 0 && len(placed) > 0 { // an event while it is in flight
				placed, free = placed[1:], free+1
				q.Wake(freed)
			}
			switch {
			case fits:
				placed = append(placed, p.UID)
				q.Delete(p.UID)
			case r.IntN(4) == 0: // deleted by its user
				q.Delete(p.UID)
			default:
				q.Park(p.UID, ForNode)
			}
			return true
		}
		for range 300 {
			switch r.IntN(4) {
			case 0:
				next++
				q.Add(pod(fmt.Sprint(next), fmt.Sprint(r.IntN(2)), next))
			case 1:
				if len(placed) > 0 {
					placed, free = placed[1:], free+1
					q.Wake(freed)
				}
			case 2:
				q.Delete(types.UID(fmt.Sprint(r.IntN(next + 1))))
			case 3:
				attempt()
			}
		}
		for attempt() {
		}
		if d := q.Depths(); free > 0 && d.Waiting > 0 {
			t.Fatalf("seed %d: %d places free while %d wait", seed, free, d.Waiting)
		}
	}
}
