// Package pulls is the one place that decides when an image is pulled, and for how long.
//
// Idea. Equal wishes at the same time share a pull, which ends when nobody waits for it any more. A few pulls at a time may move
// bytes, because the node's link and disk are shared; one that has been silent for two seconds takes no place, so that registries that
// never answer keep nobody waiting but those who asked them. A pull of which nothing came for the deadline is given up. Nobody waits for
// long while his namespace has no pull at all.
//
// Algorithm. next (queue.go) is pure: who is pulled next. Progress is told by the runtime, in bytes and open requests; without an open
// request a pull is busy with itself, unpacking for example, and is not silent.
//
// What makes it hard: a registry, a proxy or a tenant may hold a connection open for ever without breaking any rule.
package pulls

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Options say how pulls are done.
type Options struct {
	Runtime runtime.Runtime
	// Parallel is how many pulls may move at a time, 4 by default.
	Parallel int
	// Deadline is how long nothing may come before a pull is given up, a minute by default. Silence is how long before its place is
	// given to another, two seconds by default. Patience is how long a wish waits before its namespace gets a place of its own, if it
	// has none, five seconds by default.
	Deadline, Silence, Patience time.Duration
	// Telling is after how long those who wait are told how their pull stands, four seconds by default; then after twice that, and so on.
	Telling time.Duration
}

// Coordinator does the pulls of a node. Use New.
type Coordinator struct {
	opts Options

	mu      sync.Mutex
	calls   map[string]*call
	waiting []*call
	flying  []*call
}

// call is one pull, wanted by one or more.
type call struct {
	key, ref        string
	auths           []runtime.RegistryAuth
	waiters         map[string]int // by namespace
	namespace       string         // the one that it counts for, from its start on
	overdue, silent bool
	ctx             context.Context
	cancel          context.CancelCauseFunc
	progress        progress

	done  chan struct{}
	image runtime.Image
	err   error
}

// New makes a coordinator.
func New(o Options) *Coordinator {
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Deadline <= 0 {
		o.Deadline = time.Minute
	}
	if o.Silence <= 0 {
		o.Silence = 2 * time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 5 * time.Second
	}
	if o.Telling <= 0 {
		o.Telling = 4 * time.Second
	}
	return &Coordinator{opts: o, calls: map[string]*call{}}
}

// Pull waits for the image, or for the context, and tells now and then how the pull stands. The pull itself ends when nobody waits for it any more.
func (c *Coordinator) Pull(ctx context.Context, namespace, ref string, auths []runtime.RegistryAuth, tell func(Standing)) (runtime.Image, error) {
	k, began := c.join(namespace, ref, auths), time.Now()
	for wait := c.opts.Telling; ; wait = time.Since(began) {
		timer := time.NewTimer(wait)
		select {
		case <-k.done:
			timer.Stop()
			return k.image, k.err
		case <-ctx.Done():
			timer.Stop()
			c.leave(k, namespace)
			return runtime.Image{}, ctx.Err()
		case <-timer.C:
			tell(c.standing(k, time.Since(began)))
		}
	}
}

// Waiting is how many wait for pulls, and Under how many pulls there are, waiting or flying.
func (c *Coordinator) Waiting() (waiters, under int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.calls {
		for _, n := range k.waiters {
			waiters += n
		}
	}
	return waiters, len(c.waiting) + len(c.flying)
}

func (c *Coordinator) join(namespace, ref string, auths []runtime.RegistryAuth) *call {
	key := keyOf(ref, auths)
	c.mu.Lock()
	defer c.mu.Unlock()
	k, shared := c.calls[key]
	if !shared {
		k = &call{key: key, ref: ref, auths: auths, waiters: map[string]int{}, done: make(chan struct{})}
		k.ctx, k.cancel = context.WithCancelCause(context.Background())
		c.calls[key] = k
		c.waiting = append(c.waiting, k)
		time.AfterFunc(c.opts.Patience, func() { c.lapse(k) })
	}
	k.waiters[namespace]++
	c.schedule() // it may have waited for this namespace
	return k
}

// lapse is when a wish has waited for long enough.
func (c *Coordinator) lapse(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.overdue = true
	c.schedule()
}

// keyOf is the same for wishes that a registry cannot tell apart, whichever Secrets they are from.
func keyOf(ref string, auths []runtime.RegistryAuth) string {
	shown := slices.Clone(auths)
	for i := range shown {
		shown[i].Secret = ""
	}
	return fmt.Sprintf("%q %q", ref, shown)
}

func (c *Coordinator) leave(k *call, namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.waiters[namespace]--; k.waiters[namespace] == 0 {
		delete(k.waiters, namespace)
	}
	if len(k.waiters) > 0 {
		return
	}
	k.cancel(context.Canceled)
	if c.calls[k.key] == k {
		delete(c.calls, k.key)
	}
	if i := slices.Index(c.waiting, k); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	c.schedule()
}

// schedule starts what may start. It is called with the lock held, after every change.
func (c *Coordinator) schedule() {
	for {
		var waiting []wish
		for _, k := range c.waiting {
			waiting = append(waiting, wish{slices.Sorted(maps.Keys(k.waiters)), k.overdue})
		}
		var flying []flight
		for _, k := range c.flying {
			flying = append(flying, flight{k.namespace, k.silent})
		}
		i, namespace := next(waiting, flying, c.opts.Parallel)
		if i < 0 {
			waitingPulls.Set(float64(len(c.waiting)))
			return
		}
		k := c.waiting[i]
		k.namespace = namespace
		c.waiting = slices.Delete(c.waiting, i, i+1)
		c.flying = append(c.flying, k)
		go c.fly(k)
	}
}

func (c *Coordinator) fly(k *call) {
	start := time.Now()
	k.progress.began = start
	ended := make(chan struct{})
	go c.watch(k, ended)
	image, err := c.opts.Runtime.PullImage(runtime.WithPullProgress(k.ctx, &k.progress), k.ref, k.auths)
	close(ended)
	if cause := context.Cause(k.ctx); err != nil && cause != nil {
		err = cause
	}
	k.cancel(nil)
	measure(start, k.progress.bytes.Load(), err)
	c.mu.Lock()
	defer c.mu.Unlock()
	k.image, k.err = image, err
	if c.calls[k.key] == k {
		delete(c.calls, k.key)
	}
	i := slices.Index(c.flying, k)
	c.flying = slices.Delete(c.flying, i, i+1)
	close(k.done)
	c.schedule()
}

// watch gives a silent pull's place away, and ends it at the deadline.
func (c *Coordinator) watch(k *call, ended <-chan struct{}) {
	tick := time.NewTicker(c.opts.Silence / 2)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case now := <-tick.C:
			quiet := k.progress.quiet(now)
			if quiet >= c.opts.Deadline {
				k.cancel(fmt.Errorf("pull %q: nothing came from the registry for %s, and the pull was given up; see whether it can be reached from this node",
					k.ref, c.opts.Deadline))
			}
			c.mu.Lock()
			if silent := quiet >= c.opts.Silence; silent != k.silent {
				k.silent = silent
				c.schedule()
			}
			c.mu.Unlock()
		}
	}
}

// Standing is how a pull stands that somebody waits for.
type Standing struct {
	// For is how long it was waited for.
	For time.Duration
	// HasTurn says that it is being pulled, and does not wait for other pulls of the node.
	HasTurn bool
	// Bytes came of Size, as far as the layers are known yet.
	Bytes, Size int64
}

func (c *Coordinator) standing(k *call, waited time.Duration) Standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Standing{For: waited, HasTurn: !slices.Contains(c.waiting, k), Bytes: k.progress.bytes.Load(), Size: k.progress.size.Load()}
}

// progress is what is known of a pull that is under way. It implements runtime.PullProgress.
type progress struct {
	// began is when the pull did, and last how long after that something came: a time of day would follow corrections of the clock.
	began             time.Time
	last, bytes, open atomic.Int64
	size              atomic.Int64
}

func (p *progress) news() { p.last.Store(int64(time.Since(p.began))) }

// Request implements runtime.PullProgress.
func (p *progress) Request(delta int) {
	p.open.Add(int64(delta))
	p.news()
}

// Expect implements runtime.PullProgress.
func (p *progress) Expect(bytes int64) { p.size.Add(bytes) }

// Bytes implements runtime.PullProgress.
func (p *progress) Bytes(n int) {
	p.bytes.Add(int64(n))
	p.news()
}

// quiet is how long nothing came of what was asked for.
func (p *progress) quiet(now time.Time) time.Duration {
	if p.open.Load() == 0 {
		return 0
	}
	return now.Sub(p.began) - time.Duration(p.last.Load())
}
