package prober

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"k8s.io/utils/clock"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/ask"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Options are what a prober needs.
type Options struct {
	// Exec runs a command in a container.
	Exec func(ctx context.Context, id string, command runtime.Command) (runtime.Executed, error)
	// Turn waits for a turn to run a command of a namespace's, does it, and returns; it does nothing when the context ends first. At once when nil.
	Turn  func(ctx context.Context, namespace string, do func())
	Clock clock.WithDelayedExecution
}

// Prober asks containers. Use New.
type Prober struct {
	Options
	ctx    context.Context
	dialer *net.Dialer
	http   *ask.Client
}

// New makes a prober that works until ctx ends.
func New(ctx context.Context, o Options) *Prober {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Turn == nil {
		o.Turn = func(_ context.Context, _ string, do func()) { do() }
	}
	dialer := ask.NewDialer()
	return &Prober{Options: o, ctx: ctx, dialer: dialer, http: ask.NewClient(dialer)}
}

// Target is a container that runs.
type Target struct {
	// ID of the container.
	ID string
	// Namespace of its MiniPod.
	Namespace string
	// Spec says how it is probed.
	Spec *miniv1.Container
	// Address of its MiniPod.
	Address string
	// Started is when it was started, by the prober's clock.
	Started time.Time
	// Was is what was known of it.
	Was probe.Facts
}

// Report is what changed.
type Report struct {
	Facts probe.Facts
	// Words are what people should be told of a probe; empty if nothing.
	Words string
}

// Watch is a container that is probed.
type Watch struct {
	prober *Prober
	target Target
	tell   func(Report)
	ctx    context.Context
	stop   context.CancelFunc

	mu     sync.Mutex
	state  *probe.Container
	timers map[miniv1.ProbeKind]clock.Timer
	busy   map[miniv1.ProbeKind]bool
}

// Watch begins to probe a container, until Stop. Tell is called for what changes, one call after another, until a moment after that.
func (p *Prober) Watch(target Target, tell func(Report)) *Watch {
	w := &Watch{prober: p, target: target, tell: tell, timers: map[miniv1.ProbeKind]clock.Timer{}, busy: map[miniv1.ProbeKind]bool{}}
	w.ctx, w.stop = context.WithCancel(p.ctx)
	w.state = probe.NewContainer(target.Spec, target.Was, target.Started, p.Clock.Now(), rand.IntN(1000))
	watched.Inc()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.schedule()
	return w
}

// Stop ends it.
func (w *Watch) Stop() {
	w.stop()
	watched.Dec()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, timer := range w.timers {
		timer.Stop()
	}
}

// schedule sets the timers of all probes that are to be run and are not under way. w.mu is held.
func (w *Watch) schedule() {
	if w.ctx.Err() != nil {
		return
	}
	for kind := range w.target.Spec.Probes() {
		due, wanted := w.state.Due(kind)
		if timer := w.timers[kind]; timer != nil {
			timer.Stop()
			delete(w.timers, kind)
		}
		if w.busy[kind] || !wanted {
			continue
		}
		if wait := due.Sub(w.prober.Clock.Now()); wait > 0 {
			w.timers[kind] = w.prober.Clock.AfterFunc(wait, func() { go w.begin(kind) })
			continue
		}
		w.busy[kind] = true
		go w.run(kind)
	}
}

// begin runs a probe whose time has come, unless it is no longer wanted.
func (w *Watch) begin(kind miniv1.ProbeKind) {
	w.mu.Lock()
	_, wanted := w.state.Due(kind)
	if w.busy[kind] || !wanted || w.ctx.Err() != nil {
		w.mu.Unlock()
		return
	}
	w.busy[kind] = true
	w.mu.Unlock()
	w.run(kind)
}

// run runs a probe once, and takes in its result.
func (w *Watch) run(kind miniv1.ProbeKind) {
	began := w.prober.Clock.Now()
	result, words := w.ask(kind)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[kind] = false
	if w.ctx.Err() != nil {
		return
	}
	changed, tell := w.state.Take(kind, result, began, w.prober.Clock.Now())
	report := Report{Facts: w.state.Facts()}
	switch {
	case !tell || words == "":
	case result == probe.Failure:
		report.Words = fmt.Sprintf("%s probe failed: %s", kind, words)
	default:
		report.Words = fmt.Sprintf("%s probe has no result: %s", kind, words)
	}
	if changed || report.Words != "" {
		w.tell(report)
	}
	w.schedule()
}
