// Package pulls is the one place that decides when an image is pulled, and for how long.
//
// Idea. Equal wishes at the same time share a pull, which ends when nobody waits for it any more. A few pulls at a time may move
// bytes, because the node's link and disk are shared; one that has been silent for two seconds takes no place, so that registries that
// never answer keep nobody waiting but those who asked them. A pull of which nothing came for the deadline is given up.
//
// Algorithm. next (queue.go) is pure: who is pulled next. Progress is told by the runtime, in bytes and open requests; without an open
// request a pull is busy with itself, unpacking for example, and is not silent.
//
// What makes it hard: a registry, a proxy or a tenant may hold a connection open for ever without breaking any rule.
package pulls

import (
	"context"
	"fmt"
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
	// given to another, two seconds by default.
	Deadline, Silence time.Duration
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
	key, namespace, ref string
	auths               []runtime.RegistryAuth
	waiters             int
	silent              bool
	ctx                 context.Context
	cancel              context.CancelCauseFunc
	progress            progress

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
	return &Coordinator{opts: o, calls: map[string]*call{}}
}

// Pull waits for the image, or for the context. The pull itself ends when nobody waits for it any more.
func (c *Coordinator) Pull(ctx context.Context, namespace, ref string, auths []runtime.RegistryAuth) (runtime.Image, error) {
	k := c.join(namespace, ref, auths)
	select {
	case <-k.done:
		return k.image, k.err
	case <-ctx.Done():
		c.leave(k)
		return runtime.Image{}, ctx.Err()
	}
}

// Waiting is how many wait for pulls, and Under how many pulls there are, waiting or flying.
func (c *Coordinator) Waiting() (waiters, under int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.calls {
		waiters += k.waiters
	}
	return waiters, len(c.waiting) + len(c.flying)
}

func (c *Coordinator) join(namespace, ref string, auths []runtime.RegistryAuth) *call {
	key := keyOf(ref, auths)
	c.mu.Lock()
	defer c.mu.Unlock()
	k, shared := c.calls[key]
	if !shared {
		k = &call{key: key, namespace: namespace, ref: ref, auths: auths, done: make(chan struct{})}
		k.ctx, k.cancel = context.WithCancelCause(context.Background())
		c.calls[key] = k
		c.waiting = append(c.waiting, k)
		c.schedule()
	}
	k.waiters++
	return k
}

// keyOf is the same for wishes that a registry cannot tell apart, whichever Secrets they are from.
func keyOf(ref string, auths []runtime.RegistryAuth) string {
	shown := slices.Clone(auths)
	for i := range shown {
		shown[i].Secret = ""
	}
	return fmt.Sprintf("%q %q", ref, shown)
}

func (c *Coordinator) leave(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.waiters--; k.waiters > 0 {
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
			waiting = append(waiting, wish{k.namespace})
		}
		var flying []flight
		for _, k := range c.flying {
			flying = append(flying, flight{k.namespace, k.silent})
		}
		i := next(waiting, flying, c.opts.Parallel)
		if i < 0 {
			waitingPulls.Set(float64(len(c.waiting)))
			return
		}
		k := c.waiting[i]
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

// progress is what is known of a pull that is under way. It implements runtime.PullProgress.
type progress struct {
	// began is when the pull did, and last how long after that something came: a time of day would follow corrections of the clock.
	began             time.Time
	last, bytes, open atomic.Int64
}

func (p *progress) news() { p.last.Store(int64(time.Since(p.began))) }

// Request implements runtime.PullProgress.
func (p *progress) Request(delta int) {
	p.open.Add(int64(delta))
	p.news()
}

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
