package podworker

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// worker keeps one MiniPod as it should be. Its own goroutine alone touches the observation; others leave what they know
// in the inbox and wake it.
type worker struct {
	pool      *Pool
	uid       types.UID
	observed  view
	busySince time.Time
	slot      *place // one of the pool's launches
	publisher *publisher
	asking    map[string]bool             // containers that will be asked for again
	unheard   map[string]int              // how often in a row the runtime did not tell of them; nil where it always did
	portsFree bool                        // its host ports were found free
	watches   map[string]watch            // containers that are probed, by ID; nil where there are none
	hooks     map[podplan.HookOf]*hookRun // those that run
	following map[grants.Reference]*followed
	versions  map[grants.Reference]string // of what was read last; nil where nothing was
	tokens    map[volumes.Token]heldToken // in its volumes; nil where they have none
	measuring measuring
	// fieldsUsed are those that its volumes have in files; nil where they have none.
	fieldsUsed *podFields

	// pullContext ends with the last wish for images.
	pullContext context.Context
	endPulls    context.CancelFunc

	// epoch changes whenever the observation does, and when something is being done that will change it. A look at the
	// machine that began in another epoch is not believed.
	epoch atomic.Uint64
	wake  chan struct{}

	mu    sync.Mutex
	inbox inbox
}

// inbox is what others told a worker.
type inbox struct {
	// desired is the newest MiniPod known; nil when it is gone.
	desired *miniv1.MiniPod
	gone    bool
	// changed are containers that something happened to.
	changed map[string]runtime.EventType
	// ended is what the ends of jobs change, and how pulls come on, in their order.
	ended []change
	look  *view
	epoch uint64 // in which the look began
}

func newWorker(p *Pool, uid types.UID, observed view) *worker {
	observed.Begin(p.Clock.Now())
	w := &worker{pool: p, uid: uid, observed: observed, wake: make(chan struct{}, 1), asking: map[string]bool{}, hooks: map[podplan.HookOf]*hookRun{},
		following: map[grants.Reference]*followed{}}
	if len(observed.Containers) > 0 {
		done := p.ends.read(uid, w.observed.TakenUp)
		maps.Copy(w.observed.Signals, done.signals)
		w.observed.Hooks, w.observed.EndBegan = done.hooks, done.over
	}
	w.publisher = &publisher{worker: w, kick: make(chan struct{}, 1)}
	w.pullContext, w.endPulls = context.WithCancel(p.ctx)
	w.askUnanswered()
	return w
}

// tell changes the inbox and wakes the worker.
func (w *worker) tell(change func(*inbox)) {
	w.mu.Lock()
	change(&w.inbox)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// set tells of a version of the MiniPod, which from here on has the volumes that it stands for. Versions may come in any order; the newest counts.
func (w *worker) set(pod *miniv1.MiniPod) {
	pod = pod.WithAPIAccess()
	w.tell(func(in *inbox) {
		if !in.gone && (in.desired == nil || !older(pod, in.desired)) {
			in.desired = pod
		}
	})
}

// older compares resource versions, which the API server counts upwards.
func older(a, b *miniv1.MiniPod) bool {
	va, errA := strconv.ParseUint(a.ResourceVersion, 10, 64)
	vb, errB := strconv.ParseUint(b.ResourceVersion, 10, 64)
	return errA == nil && errB == nil && va < vb
}

// forget tells that the MiniPod is gone.
func (w *worker) forget() {
	w.tell(func(in *inbox) { in.desired, in.gone = nil, true })
}

// latest is the newest MiniPod known; nil when it is gone.
func (w *worker) latest() *miniv1.MiniPod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inbox.desired
}

func (w *worker) run(ctx context.Context) {
	defer w.freeSlot()
	defer w.endPulls()
	defer w.endProbes()
	defer w.unfollow()
	for {
		until := w.converge(ctx)
		if ctx.Err() != nil || w.pool.retire(w) || !w.sleep(ctx, until) {
			return
		}
	}
}

// converge does what there is to do, and tells when there will be more if nothing happens before.
func (w *worker) converge(ctx context.Context) (until time.Time) {
	for ctx.Err() == nil {
		desired := w.takeIn(ctx)
		if w.observed.Refusal = w.pool.refusal(desired, &w.observed.Observation); w.observed.Refusal == nil {
			w.observed.Refusal = w.portRefusal(ctx, desired)
		}
		w.giveUpHooks()
		w.probe(desired)
		w.outdateFields(desired)
		w.dropFar(desired)
		w.measure(desired)
		now := w.pool.Clock.Now()
		w.observed.Mark(desired, now)
		var work []podplan.Action
		work, until = podplan.Split(podplan.Plan(desired, w.observed.Observation, now))
		w.follow(desired)
		w.report(desired, work, now)
		starting := podplan.Launches(work)
		if !starting {
			w.freeSlot()
		}
		if len(work) == 0 {
			return w.portsUntil(until, now)
		}
		if starting && !w.takeSlot(ctx) {
			continue
		}
		w.slot.lend(func() { w.execute(ctx, desired, work) })
	}
	return until
}

// sleep waits for news, or for a time; false when the agent ends.
func (w *worker) sleep(ctx context.Context, until time.Time) bool {
	var alarm <-chan time.Time
	if !until.IsZero() {
		wait := until.Sub(w.pool.Clock.Now())
		if wait <= 0 {
			return ctx.Err() == nil // the time came while the plan was made
		}
		timer := w.pool.Clock.NewTimer(wait)
		defer timer.Stop()
		alarm = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
	case <-alarm:
	}
	return true
}

// takeSlot waits for a launch; false when there is news to consider first.
func (w *worker) takeSlot(ctx context.Context) bool {
	if !w.slot.held() {
		w.slot = w.pool.launches.take(ctx, w.wake)
	}
	return w.slot != nil
}

func (w *worker) freeSlot() {
	w.slot.giveBack()
	w.slot = nil
}

// takeIn brings the observation up to date with the inbox and returns the MiniPod.
func (w *worker) takeIn(ctx context.Context) *miniv1.MiniPod {
	w.mu.Lock()
	in := w.inbox
	w.inbox.changed, w.inbox.ended, w.inbox.look = nil, nil, nil
	w.mu.Unlock()
	switch {
	case in.look == nil:
	case in.epoch == w.epoch.Load():
		in.look.suit(in.desired, w.pool.Machine.NodeIP)
		w.observed.take(in.look)
		w.askUnanswered()
	default:
		w.askAgain(ctx)
	}
	for id, event := range in.changed {
		w.lookAt(ctx, id, event)
	}
	for _, take := range in.ended {
		take(&w.observed)
	}
	w.observed.suit(in.desired, w.pool.Machine.NodeIP)
	w.observed.NoteEnds(w.pool.Clock.Now())
	w.hearLastWords(in.desired)
	if in.desired == nil || podstate.IsDeleting(in.desired) || podstate.IsFinished(in.desired) {
		w.endPulls()
	}
	if in.desired != nil && in.desired.Status.NodeName != w.pool.Machine.NodeName {
		return nil
	}
	return in.desired
}

// lookAt asks the runtime about one container that an event told of, unless the event is no news.
func (w *worker) lookAt(ctx context.Context, id string, event runtime.EventType) {
	known := podplan.Container{}
	if i := w.observed.IndexOf(id); i >= 0 {
		known = w.observed.Containers[i]
	}
	switch event {
	case runtime.EventStarted:
		if known.State == podplan.StateRunning || known.State == podplan.StateExited {
			return
		}
	case runtime.EventExited:
		if known.State == podplan.StateExited {
			return
		}
	}
	if known.ID == "" {
		return // removed by now, or not created yet
	}
	w.refresh(ctx, id)
}

// refresh takes the runtime's word for one container. When the runtime does not answer it is asked again later.
func (w *worker) refresh(ctx context.Context, id string) {
	w.epoch.Add(1)
	delete(w.asking, id)
	c, found, err := w.pool.inspect(ctx, id)
	switch {
	case err != nil:
		w.pool.Log.V(1).Info("Cannot look at a container; trying again", "container", id, "err", err.Error())
		w.askLater(id)
	case found:
		if w.observed.Set(c); c.State == podplan.StateUnanswered {
			w.askLater(id)
			return
		}
		delete(w.unheard, id)
	default:
		w.observed.Drop(id)
		delete(w.unheard, id)
	}
}

// askUnanswered has the runtime asked again for all of which a look did not tell.
func (w *worker) askUnanswered() {
	for _, c := range w.observed.Containers {
		if c.State == podplan.StateUnanswered {
			w.askLater(c.ID)
		} else {
			delete(w.unheard, c.ID)
		}
	}
}

// askLater has the runtime asked again for a container of which it did not tell.
func (w *worker) askLater(id string) {
	if !w.asking[id] {
		w.asking[id] = true
		if w.unheard == nil {
			w.unheard = map[string]int{}
		}
		w.unheard[id]++
		w.pool.Clock.AfterFunc(podplan.UnansweredRetry(w.unheard[id]), func() { w.somethingHappened(id, "") })
	}
}

// askAgain makes up for a look that is not believed. What ended before the runtime's events were heard, while the worker was doing
// something, nothing else would tell of.
func (w *worker) askAgain(ctx context.Context) {
	var running []string
	for _, c := range w.observed.Containers {
		if c.MayRun() {
			running = append(running, c.ID)
		}
	}
	for _, id := range running {
		w.refresh(ctx, id)
	}
}

// somethingHappened tells of an event; an empty type asks for a look in any case.
func (w *worker) somethingHappened(id string, event runtime.EventType) {
	w.tell(func(in *inbox) {
		if in.changed == nil {
			in.changed = map[string]runtime.EventType{}
		}
		if in.changed[id] != runtime.EventExited || event == runtime.EventOOM {
			in.changed[id] = event
		}
	})
}

// report hands the status to the publisher; see the package comment for when it is written.
func (w *worker) report(desired *miniv1.MiniPod, work []podplan.Action, now time.Time) {
	if desired == nil || podstate.IsDeleting(desired) || podstate.IsFinished(desired) {
		w.publisher.drop()
		return
	}
	var notBefore time.Time
	if quiet := podplan.Quiet(desired, &w.observed.Observation, work); quiet > 0 {
		if w.busySince.IsZero() {
			w.busySince = now
		}
		notBefore = w.busySince.Add(quiet)
	} else {
		w.busySince = time.Time{}
	}
	status := podplan.Status(desired, &w.observed.Observation, podplan.Node{IP: w.pool.Machine.NodeIP, RuntimeName: w.pool.RuntimeName,
		RecursiveReadOnly: w.pool.Machine.RecursiveReadOnly}, now)
	w.observed.MarkReady(&status)
	w.publisher.offer(&status, notBefore)
}
