package podworker

import (
	"context"
	gort "runtime"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/nodeagent/ask"
	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/prober"
	"miniplane.dev/miniplane/nodeagent/pulls"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// Options are what the workers need.
type Options struct {
	Runtime   runtime.Runtime
	Sandboxes sandbox.Manager
	Network   network.Network
	Volumes   volumes.Manager
	// Client writes statuses and finalizers and reads single objects from the API server itself, not from a cache.
	Client client.Client
	// Uses reads the Secrets and ConfigMaps that MiniPods use; the Client when nil.
	Uses Reader
	// Changes tell of changes of what MiniPods use; what they wait for is asked for now and then only when this is nil.
	Changes Follower
	// Recorder tells people what goes wrong; nobody is told when it is nil.
	Recorder events.EventRecorder
	Layout   Layout
	Machine  Machine
	// Namespaces say what MiniPods may do. Those that are not known, and all of them when this is nil, may nothing.
	Namespaces *podsecurity.Namespaces
	// TakenPorts tells which ports of the node are others'; nil where nobody looks. It is asked for MiniPods with host ports only.
	TakenPorts func(context.Context) (hostports.Taken, error)
	// RuntimeName is the scheme of container IDs, as in "containerd".
	RuntimeName string
	Log         logr.Logger
	Clock       clock.WithDelayedExecution
	// Launches is how many MiniPods are started at a time; by default a few per core. Those that wait for an answer are not counted.
	Launches int
	// ParallelPulls is how many pulls may move bytes at a time, PullDeadline how long nothing may come of one; package pulls has the
	// defaults.
	ParallelPulls int
	PullDeadline  time.Duration
	// Resync is the time between two looks at the whole machine; a minute by default.
	Resync time.Duration
}

const (
	launchesPerCore = 4
	execsPerCore    = 4 // commands of probes, and as many hooks
	removalsPerCore = 8
	defaultResync   = time.Minute // nothing should need it: what changes is told
)

// Pool has a worker for every MiniPod of the node.
type Pool struct {
	Options
	ctx      context.Context // of Run's caller; ends the writers of statuses
	launches *lane
	removals *lane
	execs    *lane
	hooks    *lane
	copies   *lane // of what images have in volumes
	measures *lane
	asking   *ask.Client // on behalf of hooks
	prober   *prober.Prober
	puller   *pulls.Coordinator
	ends     ends
	writers  sync.WaitGroup
	running  sync.WaitGroup

	mu      sync.Mutex
	workers map[types.UID]*worker
	adopted map[types.UID]view // seen before the MiniPods were known
	synced  bool
	stream  *stream // of events, from before what was adopted was looked at; Run's
	closed  bool    // no more workers
}

// New makes a pool that works until ctx ends.
func New(ctx context.Context, o Options) *Pool {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Launches <= 0 {
		o.Launches = launchesPerCore * gort.NumCPU()
	}
	if o.Resync <= 0 {
		o.Resync = defaultResync
	}
	if o.Uses == nil {
		o.Uses = plain{o.Client}
	}
	if o.Namespaces == nil {
		o.Namespaces = &podsecurity.Namespaces{}
	}
	p := &Pool{
		Options:  o,
		ctx:      ctx,
		launches: newLane(o.Launches, o.Clock),
		removals: newLane(removalsPerCore*gort.NumCPU(), o.Clock),
		execs:    newTenantsLane(execsPerCore*gort.NumCPU(), o.Clock),
		hooks:    newTenantsLane(execsPerCore*gort.NumCPU(), o.Clock),
		copies:   newLane(gort.NumCPU(), o.Clock),
		measures: newTenantsLane(1, o.Clock),
		asking:   ask.NewClient(ask.NewDialer()),
		puller:   pulls.New(pulls.Options{Runtime: o.Runtime, Parallel: o.ParallelPulls, Deadline: o.PullDeadline}),
		ends:     newEnds(o.Layout.endsDir()),
		workers:  map[types.UID]*worker{},
		adopted:  map[types.UID]view{},
	}
	p.prober = prober.New(ctx, prober.Options{Exec: p.exec, Turn: p.takeTurn, Clock: o.Clock})
	return p
}

// Set tells of a MiniPod that is bound to this node, or of a change of one.
func (p *Pool) Set(pod *miniv1.MiniPod) { p.worker(pod.UID).set(pod) }

// Forget tells that a MiniPod is gone from the API server.
func (p *Pool) Forget(uid types.UID) {
	p.mu.Lock()
	w := p.workers[uid]
	p.mu.Unlock()
	if w != nil {
		w.forget()
	}
}

// worker finds or starts the worker of a MiniPod.
func (p *Pool) worker(uid types.UID) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.workers[uid]; ok {
		return w
	}
	return p.make(uid)
}

// make starts a worker with what was seen of its MiniPod. p.mu is held.
func (p *Pool) make(uid types.UID) *worker {
	observed, ok := p.adopted[uid]
	if !ok {
		observed = newView()
	}
	delete(p.adopted, uid)
	w := newWorker(p, uid, observed)
	p.workers[uid] = w
	podCount.Set(float64(len(p.workers)))
	if p.closed {
		return w
	}
	p.running.Go(func() {
		if w.sleep(p.ctx, time.Time{}) { // until there is something in the inbox
			w.run(p.ctx)
		}
	})
	return w
}

// retire lets a worker go that has nothing left to do.
func (p *Pool) retire(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.inbox.gone || !w.observed.NothingLeft() || len(w.inbox.changed) > 0 {
		return false
	}
	delete(p.workers, w.uid)
	podCount.Set(float64(len(p.workers)))
	return true
}

// Wait waits until all workers ended after the context did, and lets no more begin. Containers run on.
func (p *Pool) Wait() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.running.Wait()
	p.writers.Wait()
}
