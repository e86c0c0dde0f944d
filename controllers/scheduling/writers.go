package scheduling

import (
	"sync"
	"time"
)

const (
	// patience is how long a write has its slot. One that takes longer goes on without it.
	patience = time.Second
	// slowWriters is how many writes are under way at once for a namespace that is slow.
	slowWriters = 4
)

// writers are those who write to the API server for the scheduler: so many at once, and nobody's trouble holds them all.
//
// A write may fail, or take half a minute, because of what one tenant has put in its way: a webhook that is down, say. So a slot
// comes back after a second even if the write has no answer yet, and a namespace with such a write, or one that ended without an
// answer, is slow: its next writes have no slots but take turns among a few of its own, until all that waited were answered in time.
type writers struct {
	slots chan struct{} // one for each write that may be under way

	mu    sync.Mutex
	slow  map[string]*lane // by namespace
	going sync.WaitGroup
}

// write reports whether the API server gave an answer.
type write func() (answered bool)

// lane has the writes of a slow namespace.
type lane struct {
	running int
	waiting []write
}

func newWriters(slots int) *writers {
	return &writers{slots: make(chan struct{}, slots), slow: map[string]*lane{}}
}

// start begins a write for a namespace; the caller has taken a slot for it, which comes back when it has ended, or sooner.
func (w *writers) start(namespace string, do write) {
	if w.queued(namespace, do) {
		<-w.slots
		return
	}
	w.going.Go(func() {
		giveBack := sync.OnceFunc(func() { <-w.slots })
		defer giveBack()
		if !w.timed(do, func() { w.setSlow(namespace); giveBack() }) {
			w.setSlow(namespace)
		}
	})
}

// timed does a write, calls late when it takes too long, and reports whether it was answered in time.
func (w *writers) timed(do write, late func()) (inTime bool) {
	timer := time.AfterFunc(patience, late)
	answered := do()
	return timer.Stop() && answered
}

// setSlow makes a namespace slow.
func (w *writers) setSlow(namespace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slow[namespace] == nil {
		w.slow[namespace] = &lane{}
	}
}

// queued puts the write of a slow namespace into its lane; it reports false where the namespace is not slow.
func (w *writers) queued(namespace string, do write) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.slow[namespace]
	if l == nil {
		return false
	}
	l.waiting = append(l.waiting, do)
	if l.running < slowWriters {
		l.running++
		w.going.Go(func() { w.drain(namespace, l) })
	}
	return true
}

// drain does the writes of a lane until none waits. If the last was answered in time, the namespace is not slow any more.
func (w *writers) drain(namespace string, l *lane) {
	inTime := false
	for {
		w.mu.Lock()
		if len(l.waiting) == 0 {
			l.running--
			if inTime && l.running == 0 {
				delete(w.slow, namespace)
			}
			w.mu.Unlock()
			return
		}
		next := l.waiting[0]
		l.waiting[0], l.waiting = nil, l.waiting[1:]
		w.mu.Unlock()
		inTime = w.timed(next, func() {})
	}
}

// slowNamespaces is how many there are.
func (w *writers) slowNamespaces() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.slow)
}
