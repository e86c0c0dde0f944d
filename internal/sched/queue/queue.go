// Package queue holds the MiniPods that wait for a node.
//
// The idea: nobody is tried again before something happened that could help, and then only as many as it could help.
//
//	           Add                      Pop                 Placed, Delete
//	(new) ───────────► ACTIVE ──────────────────► IN FLIGHT ─────────────► (bound, or gone)
//	                    ▲  ▲                        │    │
//	    its time came   │  │  an event that helps   │    │
//	                    │  └───────────── WAITING ◄─┘    │   Park: no node, no quota, or not allowed
//	                    └────────────── BACKOFF ◄────────┘   Backoff: an error; 1 s, 2 s, 4 s … 10 s
//
// The algorithm of waking: WAITING MiniPods are kept by class (framework.Pod.Class, and the labels by which any MiniPod keeps others away), since for
// equals every node and quota gives the same answer. An event asks only the first of each class, the oldest, whether it could help, and moves only that one. When
// it is placed, the next of its class follows (the baton); when it fails, no other of the class would do better. So an event
// costs as many questions as there are classes, ten thousand waiting replicas do not stampede for one free place, and none is
// forgotten.
//
// What makes it hard is what happens while a MiniPod is IN FLIGHT: an event that comes between its decision and its Park
// would be lost. So events are kept while anything is in flight, and Park asks those that came since Pop.
//
// Order: by time of creation, then of arrival; but namespaces whose decisions took more than their share of the time come last (debts.go). A MiniPod that does not fit
// never holds up another that does.
package queue

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// The waits of a MiniPod that fits nowhere before its next try, doubled with each; as kube-scheduler's are.
const (
	firstBackoff = time.Second
	maxBackoff   = 10 * time.Second
)

// maxEvents bounds how many events are kept for MiniPods in flight. One that missed more is tried again at once.
const maxEvents = 4096

// maxTelling is how many labels tell MiniPods apart before all do.
const maxTelling = 64

// Wait is what a WAITING MiniPod waits for.
type Wait struct {
	what int
	kept *framework.Slots
}

// What there is to wait for.
var (
	ForNode      = Wait{what: 1}
	ForQuota     = Wait{what: 2}
	ForNamespace = Wait{what: 3}
)

// KeptFrom is the same wait of a MiniPod that other MiniPods keep from these nodes. That holds until something happens about those others, which is
// an event of its own.
func (w Wait) KeptFrom(nodes *framework.Slots) Wait { return Wait{w.what, nodes} }

// Is tells whether it is a wait for the same.
func (w Wait) Is(other Wait) bool { return w.what == other.what }

// Keeps tells whether others keep the MiniPod from a node.
func (w Wait) Keeps(slot int32) bool { return w.kept.Has(slot) }

// Event is something that happened. Helps tells whether a MiniPod that waits for that could fit now. It is called under
// the queue's lock and must not call the queue.
type Event struct {
	Helps func(pod *framework.Pod, wait Wait) bool
}

// Always is the event that helps everybody.
var Always = Event{Helps: func(*framework.Pod, Wait) bool { return true }}

// Queue is safe for concurrent use. See New.
type Queue struct {
	mu      sync.Mutex
	now     func() time.Time
	items   map[types.UID]*item
	active  items
	backoff items
	classes map[string]*class
	waiting int
	flying  int
	events  []Event // since events[0], which is number base
	base    int64
	arrived int64
	ready   chan struct{}
	// late has those of namespaces in debt that are to be tried, by namespace, and debts what namespaces owe.
	late   map[string]*items
	debts  map[string]debt
	tidyAt int // so many debts
	// telling are labels that tell MiniPods of one class apart; everything does, that there are too many of.
	telling    []string
	everything bool
}

// class has the waiting MiniPods of one class, and what the last one that was tried waits for.
type class struct {
	items items
	wait  Wait
}

// New makes an empty queue that takes the time from now.
func New(now func() time.Time) *Queue {
	return &Queue{now: now, items: map[types.UID]*item{}, classes: map[string]*class{}, late: map[string]*items{}, debts: map[string]debt{},
		active: items{less: older}, backoff: items{less: sooner}, ready: make(chan struct{}, 1)}
}

// Distinguish says that from now on MiniPods with different values of these labels may get different answers. It is to be called before that is so. Labels
// are told apart for ever: that costs little, and there are few that MiniPods keep others away by.
func (q *Queue) Distinguish(labels []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(q.telling)
	for _, label := range labels {
		if !slices.Contains(q.telling, label) && !q.everything {
			q.telling = append(q.telling, label)
		}
	}
	if len(q.telling) > maxTelling {
		q.telling, q.everything = nil, true
	} else if len(q.telling) == before {
		return
	}
	old := q.classes
	q.classes = make(map[string]*class, len(old))
	for _, c := range old {
		for _, it := range c.items.list {
			q.wait(it, c.wait)
		}
	}
	if len(q.active.list)+len(q.late)+len(q.backoff.list)+q.flying > 0 { // one that was asked for a whole class may be tried, and get an answer for itself alone
		for _, c := range q.classes {
			q.wakeFirst(c)
		}
	}
}

// Ready gets a value after something came into the queue that can be popped, or popped earlier than NextRetry said.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Add takes up a MiniPod that has no node. One that is there already stays where it is.
func (q *Queue) Add(pod *framework.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.items[pod.UID]; known {
		return
	}
	q.arrived++
	pod.Queued = q.now()
	it := &item{pod: pod, arrived: q.arrived}
	q.items[pod.UID] = it
	q.activate(it)
}

// Delete drops a MiniPod that is gone, or bound, or being deleted. If it was to be tried, or was being tried and no node was
// found yet, the next of its class gets its turn: the event that woke it may help that one.
func (q *Queue) Delete(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, known := q.items[uid]
	if !known {
		return
	}
	q.leave(it)
	delete(q.items, uid)
	if it.state != waiting && !it.placed {
		q.passBaton(it.pod)
	}
	it.state = gone
}

// Pop takes the next MiniPod to try; ok is false when there is none now. It is in flight until Delete, Park or Backoff.
func (q *Queue) Pop() (pod *framework.Pod, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for now := q.now(); len(q.backoff.list) > 0 && !q.backoff.list[0].retryAt.After(now); {
		q.activate(heap.Pop(&q.backoff).(*item))
	}
	it := q.next(q.now())
	if it == nil {
		return nil, false
	}
	it.state, it.placed, it.poppedAt = inFlight, false, q.base+int64(len(q.events))
	q.flying++
	return it.pod, true
}

// Placed says that a node was found for a MiniPod in flight: the next of its class may find one too.
func (q *Queue) Placed(pod *framework.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it, known := q.items[pod.UID]; known {
		it.placed = true
	}
	q.passBaton(pod)
}

// Renew takes up what changed about a MiniPod whose binding is being written: it stays where it is in the queue.
func (q *Queue) Renew(pod *framework.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it, known := q.items[pod.UID]; known && (it.state == inFlight || it.state == backingOff) {
		pod.Queued = it.pod.Queued
		it.pod = pod
	}
}

// Park puts a MiniPod that was in flight among the waiting, unless something happened since it was popped that helps.
func (q *Queue) Park(uid types.UID, wait Wait) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, known := q.items[uid]
	if !known || it.state != inFlight {
		return
	}
	since := it.poppedAt
	missed := since < q.base
	for i := max(since-q.base, 0); !missed && i < int64(len(q.events)); i++ {
		missed = q.events[i].Helps(it.pod, wait)
	}
	q.leave(it)
	it.errors = 0
	if missed {
		q.activate(it)
		return
	}
	it.state = waiting
	q.wait(it, wait)
	q.waiting++
}

// Backoff puts a MiniPod that was in flight aside after an error: for one second, then two, up to ten.
func (q *Queue) Backoff(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, known := q.items[uid]
	if !known || it.state != inFlight {
		return
	}
	q.leave(it)
	delay := maxBackoff
	if it.errors < 4 {
		delay = min(firstBackoff<<it.errors, maxBackoff)
	}
	it.errors++
	it.state, it.retryAt = backingOff, q.now().Add(delay)
	heap.Push(&q.backoff, it)
	q.signal()
}

// Wake tells of an event. It returns how many MiniPods will be tried because of it at once.
func (q *Queue) Wake(e Event) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flying > 0 {
		q.remember(e)
	}
	woken := 0
	for _, c := range q.classes {
		if e.Helps(c.items.list[0].pod, c.wait) {
			q.wakeFirst(c)
			woken++
		}
	}
	return woken
}

// NextRetry is when the first MiniPod that backs off can be popped; ok is false when there is none.
func (q *Queue) NextRetry() (at time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.backoff.list) == 0 {
		return time.Time{}, false
	}
	return q.backoff.list[0].retryAt, true
}

// Depths are the numbers of MiniPods in each part of the queue.
type Depths struct{ Active, Backoff, Waiting, InFlight int }

// Depths counts.
func (q *Queue) Depths() Depths {
	q.mu.Lock()
	defer q.mu.Unlock()
	active := len(q.active.list)
	for _, late := range q.late {
		active += late.Len()
	}
	return Depths{Active: active, Backoff: len(q.backoff.list), Waiting: q.waiting, InFlight: q.flying}
}

// Listens tells whether an event could make a difference: whether anything waits or is in flight. Working out an event
// for nobody can be saved.
func (q *Queue) Listens() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting+q.flying > 0
}
