// Package scheduling is the scheduler at work: the only one that binds MiniPods to nodes.
//
// The idea: everything is decided in memory, by one goroutine, on news that informers bring; only the outcome is written,
// by many goroutines at once. A MiniPod that is bound costs one write here (two, when it was made without a controller and
// needs the agent's finalizer first), one that waits costs one write each time the reason changes.
//
// The algorithm:
//
//	informers ── feed.go ──► cache, queue, ledger, levels   what there is, who waits, who is charged, who may what
//	loop      ── loop.go ──► pop → level → quota → decide → assume   one MiniPod at a time, microseconds
//	writers   ── bind.go ──► one status patch               many at once; confirm, or forget and take what the API says
//	             account.go ► with the pull secrets of the ServiceAccount
//	             pending.go ► why it waits
//	             orphan.go ─► finalizers of those deleted before they were bound
//
// What makes it hard:
//   - Informers are late. A binding is assumed before it is written and news that contradict it are old (package cache), and
//     a MiniPod can be deleted, or made again under its name, while its binding is written: so the patch carries the
//     resourceVersion that the decision was made on, and on a conflict the live object decides.
//   - An answer may be lost. Until it is known whether a binding was written, the MiniPod stays charged: room and quota are
//     never promised twice. It waits for that in the queue, and holds nobody up.
//   - What stands in the way of one tenant's writes must not stand in the way of others' (writers.go).
//   - A new leader's informers may not have seen the old one's last bindings. It asks the API server once for what is
//     bound and decides nothing until its cache shows all of that (catchup.go).
package scheduling

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/quota"
	"miniplane.dev/miniplane/internal/sched"
	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/plugins/hostports"
	"miniplane.dev/miniplane/internal/sched/queue"
)

// defaultWriters is how many writes are under way at once, enough to keep an API server busy and few enough to leave it
// to others.
const defaultWriters = 64

// Options of the scheduler. The zero value is the default.
type Options struct {
	// Weights of scores, by name: LeastRequested (1), Spread (2), PreferNoSchedule (3), NodeAffinity (2), PodAffinity (2),
	// TopologySpread (2). 0 switches one off.
	Weights map[string]int64
	// ReservedPorts are those of nodes that no MiniPod may open.
	ReservedPorts []hostports.Range
	// Writers is how many writes to the API server may be under way at once; 64 when 0.
	Writers int
	// Seed decides between nodes that are equally good; random when 0.
	Seed uint64
}

// Scheduler is the Runnable. Make it with Setup.
type Scheduler struct {
	client   client.Client
	live     client.Reader
	recorder events.EventRecorder

	profile *sched.Profile
	cache   *cache.Cache
	queue   *queue.Queue
	ledger  *quota.Ledger
	// namespaces have the Pod Security levels.
	namespaces podsecurity.Namespaces
	cycle      *sched.Cycle
	orphans    workqueue.TypedRateLimitingInterface[client.ObjectKey]

	// charging is held while a MiniPod is put on, or taken off, both accounts: the node's and the quota's.
	charging sync.Mutex

	fed     []toolscache.DoneChecker
	writers *writers
}

// Setup adds the scheduler to the manager.
func Setup(mgr ctrl.Manager, opts Options) error {
	profile, err := sched.DefaultProfile(opts.Weights)
	if err != nil {
		return err
	}
	profile.Reserve(opts.ReservedPorts)
	if opts.Writers < 0 {
		return errors.New("writers must not be negative")
	}
	if opts.Writers == 0 {
		opts.Writers = defaultWriters
	}
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64()
	}
	nodes := cache.New()
	s := &Scheduler{
		client:   mgr.GetClient(),
		live:     mgr.GetAPIReader(),
		recorder: mgr.GetEventRecorder("miniplane-scheduler"),
		profile:  profile,
		cache:    nodes,
		queue:    queue.New(time.Now),
		ledger:   quota.NewLedger(),
		cycle:    sched.NewCycle(nodes, profile, opts.Seed),
		writers:  newWriters(opts.Writers),
		orphans: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[client.ObjectKey](50*time.Millisecond, 10*time.Second)),
	}
	if err := s.listen(mgr); err != nil {
		return err
	}
	return mgr.Add(s)
}

// listen makes the informers feed the scheduler.
func (s *Scheduler) listen(mgr ctrl.Manager) error {
	for _, feed := range []struct {
		kind    client.Object
		handler toolscache.ResourceEventHandler
	}{
		{namespaceKind(), handler(s.namespaceSeen, s.namespaceGone)},
		{&miniv1.MiniPod{}, toolscache.ResourceEventHandlerFuncs{AddFunc: s.podAdded, UpdateFunc: s.podUpdated, DeleteFunc: s.podDeleted}},
		{&miniv1.MiniNode{}, handler(s.miniNodeSeen, s.miniNodeGone)},
		{&corev1.Node{}, handler(s.coreNodeSeen, s.coreNodeGone)},
		{&miniv1.MiniQuota{}, handler(s.quotaSeen, s.quotaGone)},
		{&corev1.ServiceAccount{}, toolscache.ResourceEventHandlerFuncs{}}, // for whoever binds, to look up
	} {
		informer, err := mgr.GetCache().GetInformer(context.Background(), feed.kind)
		if err != nil {
			return err
		}
		registration, err := informer.AddEventHandler(feed.handler)
		if err != nil {
			return err
		}
		s.fed = append(s.fed, registration.HasSyncedChecker())
	}
	return nil
}
