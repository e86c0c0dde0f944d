package podworker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

const (
	// relist is the wait before the runtime's events are asked for again.
	relist = 500 * time.Millisecond
	// settled is when an agent that took up what was there looks again: what it began with is to be done first, and events tell of what
	// happens meanwhile.
	settled = 5 * time.Second
)

const (
	// lookTimeout bounds a look at the whole machine, inspectTimeout that at one container.
	lookTimeout    = 2 * time.Minute
	inspectTimeout = 10 * time.Second
)

// Adopt takes up what is on the machine, and begins to listen before it looks, so that nothing is missed until Run. To be called
// before the first Set, and again after an error.
func (p *Pool) Adopt(ctx context.Context) error {
	stream, err := p.subscribe(ctx)
	if err != nil {
		return err
	}
	if err := p.look(ctx); err != nil {
		stream.stop()
		return err
	}
	stream.looked = time.Now()
	p.stream = stream
	return nil
}

// Run listens to the runtime and looks at the whole machine now and then, until ctx ends. To be called once, when all MiniPods
// that exist were Set: what belongs to none of them is removed.
func (p *Pool) Run(ctx context.Context) {
	p.mu.Lock()
	p.synced = true
	p.mu.Unlock()
	for from := p.stream; ctx.Err() == nil; from = nil {
		if err := p.listen(ctx, from); ctx.Err() == nil {
			p.Log.Info("Lost the runtime's events; asking again", "err", err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(jitter.Up(relist)):
		}
	}
}

// stream is the runtime's events from some moment on.
type stream struct {
	events <-chan runtime.Event
	stop   context.CancelFunc
	looked time.Time // when the whole machine was looked at since; zero for not yet
}

func (p *Pool) subscribe(ctx context.Context) (*stream, error) {
	ctx, stop := context.WithCancel(ctx)
	events, err := p.Runtime.Events(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	return &stream{events: events, stop: stop}, nil
}

// listen passes events to the workers until the stream ends; without one it begins one. Events come first, then the look, so that
// nothing is missed between the two. Looks have a goroutine of their own: however long one takes, events do not wait for it. One that
// fails is repeated, and ends nothing.
func (p *Pool) listen(ctx context.Context, from *stream) error {
	if from == nil {
		var err error
		if from, err = p.subscribe(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var looks sync.WaitGroup
	defer looks.Wait()
	defer cancel()
	defer from.stop()
	if !from.looked.IsZero() { // what was adopted is news enough for the first moments
		looks.Go(func() { p.removeStrangers(ctx, p.unclaimed()) })
	}
	looks.Go(func() { p.lookAround(ctx, from.looked) })
	for event := range from.events {
		p.dispatch(event)
	}
	return fmt.Errorf("the stream ended")
}

// lookAround looks at the whole machine, now and then; the first time when the last look, if there was one, is old enough.
func (p *Pool) lookAround(ctx context.Context, looked time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(looked.Add(settled))):
	}
	for ctx.Err() == nil {
		next := p.Resync
		if err := p.look(ctx); err != nil && ctx.Err() == nil {
			p.Log.Info("Cannot look at the machine; trying again", "err", err.Error())
			next = relist
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
	}
}

// dispatch wakes the worker whose container something happened to.
func (p *Pool) dispatch(event runtime.Event) {
	uid, ours := podOf(event.ContainerID)
	if !ours {
		return
	}
	p.mu.Lock()
	w := p.workers[uid]
	p.mu.Unlock()
	if w != nil {
		w.somethingHappened(event.ContainerID, event.Type)
	}
}

// look observes the whole machine and hands every worker its part. A worker that did something meanwhile ignores it.
func (p *Pool) look(ctx context.Context) error {
	before := p.epochs()
	limited, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	seen, err := p.observe(limited)
	if err != nil {
		return err
	}
	for uid, epoch := range before {
		observed, ok := seen[uid]
		if !ok {
			observed = newView()
		}
		delete(seen, uid)
		p.mu.Lock()
		w := p.workers[uid]
		p.mu.Unlock()
		if w != nil {
			w.tell(func(in *inbox) { in.look, in.epoch = &observed, epoch })
		}
	}
	p.mu.Lock()
	synced := p.synced
	if !synced {
		p.adopted = seen
	}
	p.mu.Unlock()
	if synced {
		p.removeStrangers(ctx, seen)
		p.sweep(ctx)
	}
	return nil
}

// sweep lets the runtime look for what it has lost.
func (p *Pool) sweep(ctx context.Context) {
	if err := p.Runtime.Sweep(ctx); err != nil && ctx.Err() == nil {
		p.Log.Info("Cannot look for lost processes", "err", err.Error())
	}
}

func (p *Pool) epochs() map[types.UID]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[types.UID]uint64, len(p.workers))
	for uid, w := range p.workers {
		out[uid] = w.epoch.Load()
	}
	return out
}

// traces are all that MiniPods have on a machine.
type traces struct {
	containers []runtime.Container
	sandboxes  []sandbox.Sandbox
	addresses  map[string]netip.Addr
	// holders are the UIDs of those for whom layers of images are kept.
	holders                []string
	withFiles, withVolumes []types.UID
}

// observe lists everything on the machine, by MiniPod.
func (p *Pool) observe(ctx context.Context) (map[types.UID]view, error) {
	found, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	return found.byPod(), nil
}

func (p *Pool) list(ctx context.Context) (found traces, err error) {
	lists, listing := errgroup.WithContext(ctx) // a new agent waits for all of them
	lists.Go(func() (err error) {
		if found.containers, err = p.Runtime.List(listing); err != nil {
			return fmt.Errorf("list containers: %w", err)
		}
		return nil
	})
	lists.Go(func() (err error) {
		if found.sandboxes, err = p.Sandboxes.List(listing); err != nil {
			return fmt.Errorf("list sandboxes: %w", err)
		}
		return nil
	})
	lists.Go(func() (err error) {
		found.holders, err = p.Runtime.Holders(listing)
		return err
	})
	if err := lists.Wait(); err != nil {
		return found, err
	}
	if found.addresses, err = p.Network.List(ctx); err != nil {
		return found, fmt.Errorf("list addresses: %w", err)
	}
	if found.withFiles, err = p.Layout.podsWithFiles(); err != nil {
		return found, fmt.Errorf("list files: %w", err)
	}
	if found.withVolumes, err = p.Volumes.List(); err != nil {
		return found, fmt.Errorf("list volumes: %w", err)
	}
	return found, nil
}

func (f *traces) byPod() map[types.UID]view {
	out := map[types.UID]view{}
	at := func(uid string, change func(*view)) {
		o, ok := out[types.UID(uid)]
		if !ok {
			o = newView()
		}
		change(&o)
		out[types.UID(uid)] = o
	}
	for _, c := range f.containers {
		if uid := c.Labels[runtime.LabelPodUID]; uid != "" {
			at(uid, func(o *view) { o.Containers, o.owner = append(o.Containers, containerOf(c)), ownerOf(c) })
		}
	}
	for _, s := range f.sandboxes {
		at(s.PodUID, func(o *view) { o.setBox(&s); o.Gone.Network = false })
	}
	for uid, address := range f.addresses {
		at(uid, func(o *view) { o.Address, o.Gone.Network = address, false })
	}
	for _, uid := range f.withVolumes {
		at(string(uid), func(o *view) { o.Gone.Volumes = false })
	}
	for _, uid := range f.holders {
		at(uid, func(o *view) { o.Gone.Volumes, o.holds = false, true })
	}
	for _, uid := range f.withFiles {
		at(string(uid), func(o *view) { o.Gone.Files = false })
	}
	return out
}

// unclaimed is what was adopted and no MiniPod came for.
func (p *Pool) unclaimed() map[types.UID]view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.adopted
}

// removeStrangers has workers remove what belongs to no MiniPod of this node. What has containers is checked with the API server
// itself first: the list that the agent began with may be a little old. What has an owner after all is left as it was seen, for the
// worker that the watch is about to bring, or for the next look.
func (p *Pool) removeStrangers(ctx context.Context, seen map[types.UID]view) {
	p.mu.Lock()
	p.adopted = map[types.UID]view{}
	for uid, observed := range seen {
		if _, known := p.workers[uid]; !known {
			p.adopted[uid] = observed
		}
	}
	strangers := maps.Clone(p.adopted)
	p.mu.Unlock()
	for uid, observed := range strangers {
		switch owned, err := p.owned(ctx, uid, observed); {
		case err != nil:
			p.Log.Info("Cannot tell whose containers these are; leaving them for now", "pod", uid, "err", err.Error())
		case !owned:
			p.removeStranger(uid)
		}
	}
}

// removeStranger starts a worker that removes what was seen, unless somebody told of the MiniPod meanwhile.
func (p *Pool) removeStranger(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.workers[uid]; known {
		return
	}
	p.Log.Info("Removing what is left of a MiniPod that is gone", "pod", uid)
	p.make(uid).forget()
}

// owned asks the API server whether the MiniPod that the containers were made for is still this node's.
func (p *Pool) owned(ctx context.Context, uid types.UID, observed view) (bool, error) {
	if len(observed.Containers) == 0 {
		return false, nil
	}
	var pod miniv1.MiniPod
	err := p.Client.Get(ctx, observed.owner, &pod)
	return err == nil && pod.UID == uid && pod.Status.NodeName == p.Machine.NodeName, client.IgnoreNotFound(err)
}

// inspect observes one container.
func (p *Pool) inspect(ctx context.Context, id string) (c podplan.Container, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	seen, err := p.Runtime.Inspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return c, false, nil
	}
	return containerOf(seen), err == nil, err
}
