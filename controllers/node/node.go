// Package node follows the lives of the nodes' agents: it says who is lost, has the MiniPods of lost nodes replaced, lets go
// of what was on nodes that are gone for good, and gives every node its range of addresses.
//
// The idea: internal/nodelife decides; this package brings it what it needs and does what it says. One reconcile is about one
// node name, whether or not a MiniNode, a core Node or only MiniPods of that name exist.
//
// The heartbeats do not pass through the queue. A renewal is noted by the Tracker, in the event handler, and only an agent
// that comes back queues something; everything else waits for the moment at which the node would be lost, which every
// renewal puts off. So a thousand nodes cost a thousand looks per grace period.
//
// What makes it hard is that a mistake costs a restart of everything: before an agent is given up its Lease is read past the
// cache, and when the API server does not answer, all agents get a full grace period again. Nothing irreversible (a
// finalizer removed, a MiniNode deleted) happens without a look past the cache that the core Node is really gone.
package node

import (
	"context"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/nodelife"
)

// workers is how many nodes are looked at at a time.
const workers = 4

// Options say when a node is lost and which addresses there are.
type Options struct {
	// GracePeriod is how long an agent may be silent before it is lost; 16 s, four missed renewals, when zero.
	GracePeriod time.Duration
	// EvictionWait is the time from the loss of an agent to the deletion of its MiniPods; 20 s when zero.
	EvictionWait time.Duration
	// PodCIDR is the range of all MiniPods of the cluster.
	PodCIDR netip.Prefix
	// NodeMaskBits is the size of one node's range, as the length of its mask; 22 when zero.
	NodeMaskBits int
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.GracePeriod == 0 {
		o.GracePeriod = 16 * time.Second
	}
	if o.EvictionWait == 0 {
		o.EvictionWait = 20 * time.Second
	}
	if o.NodeMaskBits == 0 {
		o.NodeMaskBits = 22
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// ByObject is what this package needs the manager's cache to hold: of all Leases, the agents'.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{miniv1.SystemNamespace: {}}},
	}
}

// Setup adds the controller to the manager.
func Setup(mgr ctrl.Manager, opts Options) error {
	opts.setDefaults()
	r := &reconciler{
		client:   mgr.GetClient(),
		reader:   mgr.GetAPIReader(),
		recorder: mgr.GetEventRecorder("miniplane-node"),
		now:      opts.Now,
		wait:     opts.EvictionWait,
		tracker:  nodelife.NewTracker(opts.GracePeriod),
		ranges:   newRanges(mgr.GetAPIReader(), opts.PodCIDR, opts.NodeMaskBits),
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("node").
		For(&miniv1.MiniNode{}).
		Watches(&corev1.Node{}, r.onNode()).
		Watches(&coordinationv1.Lease{}, r.onLease()).
		Watches(&miniv1.MiniPod{}, r.onPod()).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

type reconciler struct {
	client   client.Client
	reader   client.Reader // past the cache
	recorder events.EventRecorder
	now      func() time.Time
	wait     time.Duration
	tracker  *nodelife.Tracker
	ranges   *ranges
}

// Reconcile looks at one node name.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen, err := r.observe(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if seen.MiniNode == nil && len(seen.Pods) == 0 {
		r.tracker.Forget(req.Name)
		r.ranges.release(req.Name)
		return ctrl.Result{}, nil
	}
	if seen.Health.State == nodelife.Lost {
		if err := r.lookAgain(ctx, &seen); err != nil {
			r.tracker.Pardon(r.now())
			return ctrl.Result{}, err
		}
	}
	if seen.Health.State != nodelife.Lost {
		if err := r.giveRange(ctx, seen.MiniNode); err != nil {
			return ctrl.Result{}, err
		}
	}
	plan := nodelife.Decide(seen, r.wait, r.now())
	if err := r.execute(ctx, seen, plan); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.until(plan.Again)}, nil
}

// observe gathers what the caches show of a node.
func (r *reconciler) observe(ctx context.Context, name string) (nodelife.Observed, error) {
	seen := nodelife.Observed{Name: name, NodeExists: true}
	key := client.ObjectKey{Name: name}
	var miniNode miniv1.MiniNode
	switch err := r.client.Get(ctx, key, &miniNode); {
	case err == nil:
		seen.MiniNode = &miniNode
	case client.IgnoreNotFound(err) != nil:
		return seen, err
	}
	var node corev1.Node
	if err := r.client.Get(ctx, key, &node); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return seen, err
		}
		seen.NodeExists = false
	}
	var pods miniv1.MiniPodList
	if err := r.client.List(ctx, &pods, client.MatchingFields{index.PodNode: name}); err != nil {
		return seen, err
	}
	for i := range pods.Items {
		seen.Pods = append(seen.Pods, &pods.Items[i])
	}
	seen.Health = r.tracker.Health(name, r.now())
	seen.Blind = !r.tracker.AnyAlive(r.now())
	return seen, nil
}

// lookAgain reads past the cache what it takes to give up a node. An error means that the API server does not answer.
func (r *reconciler) lookAgain(ctx context.Context, seen *nodelife.Observed) error {
	var lease coordinationv1.Lease
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: seen.Name}, &lease)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err == nil && lease.Spec.RenewTime != nil {
		r.tracker.Observe(seen.Name, lease.Spec.RenewTime.Time, r.now())
		seen.Health = r.tracker.Health(seen.Name, r.now())
	}
	if seen.NodeExists {
		return nil
	}
	var node corev1.Node
	err = r.reader.Get(ctx, client.ObjectKey{Name: seen.Name}, &node)
	seen.NodeExists = err == nil
	return client.IgnoreNotFound(err)
}

// until is the time from now to then, at least a little; zero, which means never, if then is.
func (r *reconciler) until(then time.Time) time.Duration {
	if then.IsZero() {
		return 0
	}
	return max(then.Sub(r.now()), time.Millisecond)
}
