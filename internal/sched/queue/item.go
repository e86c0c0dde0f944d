package queue

import (
	"container/heap"
	"maps"
	"slices"
	"strconv"
	"time"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// state is the part of the queue that an item is in.
type state int

const (
	inActive state = iota
	inLate
	inFlight
	waiting
	backingOff
	gone
)

type item struct {
	pod     *framework.Pod
	arrived int64
	state   state
	class   string // in which it waits
	at      int    // in the heap that it is in
	// poppedAt is the number of the first event after its last Pop.
	poppedAt int64
	// placed: since its last Pop a node was found, and the next of its class got its turn.
	placed bool
	// errors in a row, and when to try again after them.
	errors  int
	retryAt time.Time
}

// older is the order of trying.
func older(a, b *item) bool {
	if !a.pod.Created.Equal(b.pod.Created) {
		return a.pod.Created.Before(b.pod.Created)
	}
	return a.arrived < b.arrived
}

func sooner(a, b *item) bool { return a.retryAt.Before(b.retryAt) }

// items is a heap.Interface of items that know their place.
type items struct {
	list []*item
	less func(a, b *item) bool
}

func (h *items) Len() int           { return len(h.list) }
func (h *items) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) }

func (h *items) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].at, h.list[j].at = i, j
}

// Push is for container/heap.
func (h *items) Push(x any) {
	it := x.(*item)
	it.at = len(h.list)
	h.list = append(h.list, it)
}

// Pop is for container/heap.
func (h *items) Pop() any {
	last := len(h.list) - 1
	it := h.list[last]
	h.list[last], h.list = nil, h.list[:last]
	return it
}

// leave takes an item out of the part of the queue that it is in.
func (q *Queue) leave(it *item) {
	switch it.state {
	case inActive:
		heap.Remove(&q.active, it.at)
	case inLate:
		q.leaveLate(it)
	case backingOff:
		heap.Remove(&q.backoff, it.at)
	case waiting:
		c := q.classes[it.class]
		heap.Remove(&c.items, it.at)
		q.stopWaiting(it.class, c)
	case inFlight:
		if q.flying--; q.flying == 0 {
			q.base += int64(len(q.events))
			q.events = q.events[:0]
		}
	case gone:
	}
}

func (q *Queue) activate(it *item) {
	it.state = inActive
	heap.Push(&q.active, it)
	q.signal()
}

// classOf is the class of a MiniPod, told apart as far as has to be.
func (q *Queue) classOf(pod *framework.Pod) string {
	if len(q.telling) == 0 && !q.everything {
		return pod.Class
	}
	told := q.telling
	if q.everything {
		told = slices.Sorted(maps.Keys(pod.Labels))
	}
	out := append(make([]byte, 0, len(pod.Class)+64), pod.Class...)
	for _, label := range told {
		if value, has := pod.Labels[label]; has {
			out = strconv.AppendQuote(append(append(out, ' '), label...), value)
		}
	}
	return string(out)
}

// wait puts an item among the waiting of its class.
func (q *Queue) wait(it *item, why Wait) {
	it.class = q.classOf(it.pod)
	c, ok := q.classes[it.class]
	if !ok {
		c = &class{items: items{less: older}}
		q.classes[it.class] = c
	}
	c.wait = why
	heap.Push(&c.items, it)
}

// passBaton lets the oldest waiting MiniPod of the same class try.
func (q *Queue) passBaton(pod *framework.Pod) {
	if c, ok := q.classes[q.classOf(pod)]; ok {
		q.wakeFirst(c)
	}
}

func (q *Queue) wakeFirst(c *class) {
	it := heap.Pop(&c.items).(*item)
	q.stopWaiting(it.class, c)
	q.activate(it)
}

func (q *Queue) stopWaiting(name string, c *class) {
	q.waiting--
	if c.items.Len() == 0 {
		delete(q.classes, name)
	}
}

// remember keeps an event for those in flight.
func (q *Queue) remember(e Event) {
	if len(q.events) >= maxEvents {
		q.base += int64(len(q.events))
		q.events = q.events[:0]
	}
	q.events = append(q.events, e)
}

func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}
