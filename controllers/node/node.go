// Package node follows the lives of the nodes: it says who is silent and who is lost, has the MiniPods of lost nodes replaced, and
// those of nodes that leave moved, lets go of what was on nodes that are gone for good, and gives every node its range of addresses.
//
// The idea: internal/nodelife decides; this package brings it what it needs and does what it says. One reconcile is about one
// node name, whether or not a MiniNode, a core Node or only MiniPods of that name exist.
//
// The heartbeats, those of agents and those of kubelets, do not pass through the queue. A renewal is noted by the Fleet, in the
// event handler, and only an agent that comes back queues something; everything else waits for the moment at which the node
// would be lost, which every renewal puts off. So a thousand nodes cost a thousand looks per grace period. Of a kubelet's Lease the
// cache keeps its name and its time (leases.go).
//
// What makes it hard is that a mistake costs a restart of everything: before anything is said or done against a node, both its
// Leases are read past the cache, and when the API server does not answer, all nodes get a full grace period again. Nothing
// irreversible (a finalizer removed, a MiniNode deleted) happens without a look past the cache that the core Node is really gone, or
// really out of service.
package node

import (
	"context"
	"net/netip"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/nodelife"
)

// workers is how many nodes are looked at at a time.
const workers = 4

// Options say when a node is lost, how fast lost nodes are emptied, and which addresses there are.
type Options struct {
	// GracePeriod is how long a witness of a node may be silent before it is lost; 16 s, four missed renewals of an agent, when zero.
	GracePeriod time.Duration
	// EvictionWait is the time from the loss of a node to the deletion of its MiniPods; 20 s when zero.
	EvictionWait time.Duration
	// AgentAbsence is the same where the machine lives and only its agent is silent; 5 min when zero.
	AgentAbsence time.Duration
	// Brake says how fast nodes may be emptied; DefaultBrake when zero.
	Brake nodelife.Brake
	// PodCIDR is the range of all MiniPods of the cluster.
	PodCIDR netip.Prefix
	// NodeMaskBits is the size of one node's range, as the length of its mask; 22 when zero.
	NodeMaskBits int
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// DefaultBrake has the numbers of Kubernetes' own node lifecycle controller.
var DefaultBrake = nodelife.Brake{Every: 10 * time.Second, EverySlow: 100 * time.Second, Unhealthy: 550, Large: 50}

func (o *Options) setDefaults() {
	if o.GracePeriod == 0 {
		o.GracePeriod = 16 * time.Second // as --node-grace-period is
	}
	if o.EvictionWait == 0 {
		o.EvictionWait = 20 * time.Second // as --pod-eviction-wait is
	}
	if o.AgentAbsence == 0 {
		o.AgentAbsence = 5 * time.Minute // as --agent-absence is
	}
	if o.Brake == (nodelife.Brake{}) {
		o.Brake = DefaultBrake
	}
	if o.NodeMaskBits == 0 {
		o.NodeMaskBits = 22
	}
	if o.Now == nil {
		o.Now = time.Now
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
		policy:   nodelife.Policy{EvictionWait: opts.EvictionWait, AgentAbsence: opts.AgentAbsence},
		fleet:    nodelife.NewFleet(opts.GracePeriod, opts.Brake),
		book:     newBook(),
		ranges:   newRanges(mgr.GetAPIReader(), opts.PodCIDR, opts.NodeMaskBits),
	}
	atWork.Store(r)
	return ctrl.NewControllerManagedBy(mgr).
		Named("node").
		For(&miniv1.MiniNode{}).
		Watches(&corev1.Node{}, r.onNode()).
		Watches(&coordinationv1.Lease{}, r.onLease()).
		Watches(&appsv1.DaemonSet{}, r.onDaemonSet()).
		Watches(&miniv1.MiniPod{}, r.onPod()).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

type reconciler struct {
	client   client.Client
	reader   client.Reader // past the cache
	recorder events.EventRecorder
	now      func() time.Time
	policy   nodelife.Policy
	fleet    *nodelife.Fleet
	book     *book
	ranges   *ranges
}

// Reconcile looks at one node name.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen, err := r.observe(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if seen.MiniNode == nil && len(seen.Pods) == 0 {
		r.fleet.Leave(req.Name)
		r.book.forget(req.Name)
		if !seen.NodeExists { // a node whose MiniNode comes back has its range again
			r.ranges.release(req.Name)
		}
		return ctrl.Result{}, nil
	}
	plan := nodelife.Decide(seen, r.policy, r.now())
	if plan.Harms() {
		if err := r.lookAgain(ctx, &seen); err != nil {
			r.fleet.Pardon(r.now())
			return ctrl.Result{}, err
		}
		plan = nodelife.Decide(seen, r.policy, r.now())
	}
	r.follow(&seen)
	if state := seen.Life.State; state == nodelife.Alive || state == nodelife.Unsure {
		if err := r.giveRange(ctx, seen.MiniNode); err != nil {
			return ctrl.Result{}, err
		}
	}
	if len(plan.Evict)+len(plan.Move) > 0 {
		if ok, again := r.fleet.Admit(req.Name, r.now()); !ok {
			plan.Hold(seen, again)
		}
	}
	if err := r.execute(ctx, seen, plan); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.until(plan.Again)}, nil
}

// observe gathers what the caches show of a node.
func (r *reconciler) observe(ctx context.Context, name string) (nodelife.Observed, error) {
	seen := nodelife.Observed{Name: name}
	key := client.ObjectKey{Name: name}
	var miniNode miniv1.MiniNode
	switch err := r.client.Get(ctx, key, &miniNode); {
	case err == nil:
		seen.MiniNode = &miniNode
	case client.IgnoreNotFound(err) != nil:
		return seen, err
	}
	var pods miniv1.MiniPodList
	if err := r.client.List(ctx, &pods, client.MatchingFields{index.PodNode: name}); err != nil {
		return seen, err
	}
	for i := range pods.Items {
		seen.Pods = append(seen.Pods, &pods.Items[i])
	}
	return seen, r.look(ctx, r.client, &seen)
}

// look takes up what a reader shows of the core Node, and of whether its agent's DaemonSet wants it.
func (r *reconciler) look(ctx context.Context, from client.Reader, seen *nodelife.Observed) error {
	var node corev1.Node
	err := from.Get(ctx, client.ObjectKey{Name: seen.Name}, &node)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	exists := err == nil
	seen.Left = false
	if seen.MiniNode == nil {
		if seen.Left, err = hasLeft(ctx, from, seen.Name); err != nil {
			return err
		}
	}
	if seen.Unwanted, err = unwanted(ctx, from, seen.MiniNode, &node, exists); err != nil {
		return err
	}
	r.take(seen, &node, exists)
	return nil
}

// take takes up what the core Node says, and what is known of the node's life then.
func (r *reconciler) take(seen *nodelife.Observed, node *corev1.Node, exists bool) {
	seen.NodeExists, seen.OutOfService = exists, nil
	if exists {
		seen.OutOfService = outOfService(node)
	}
	if seen.MiniNode != nil || len(seen.Pods) > 0 {
		if seen.IsMember() {
			r.fleet.Join(seen.Name, node.Labels[corev1.LabelTopologyZone], wordOf(node))
			r.fleet.Away(seen.Name, seen.Unwanted != "")
		} else {
			r.fleet.Quit(seen.Name)
		}
		seen.Life, seen.Pace = r.fleet.Look(seen.Name, r.now())
		seen.Held = r.fleet.Held(seen.Name, r.now())
		if seen.MiniNode != nil {
			booted := r.fleet.Boot(seen.Name, node.Status.NodeInfo.BootID, r.now())
			seen.Life = seen.Life.SinceBoot(seen.MiniNode.Status.NodeInfo.BootID, node.Status.NodeInfo.BootID, booted)
		}
	}
}

// lookAgain reads past the cache what it takes to give up a node. An error means that the API server does not answer.
func (r *reconciler) lookAgain(ctx context.Context, seen *nodelife.Observed) error {
	for namespace, hear := range r.witnesses() {
		var lease coordinationv1.Lease
		err := r.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: seen.Name}, &lease)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if beat, ok := beatOf(&lease); err == nil && ok {
			hear(seen.Name, beat, r.now())
		}
	}
	var mini miniv1.MiniNode
	switch err := r.reader.Get(ctx, client.ObjectKey{Name: seen.Name}, &mini); {
	case err == nil:
		seen.MiniNode = &mini
	case client.IgnoreNotFound(err) != nil:
		return err
	default:
		seen.MiniNode = nil
	}
	return r.look(ctx, r.reader, seen)
}

// until is the time from now to then, at least a little; zero, which means never, if then is.
func (r *reconciler) until(then time.Time) time.Duration {
	if then.IsZero() {
		return 0
	}
	return max(then.Sub(r.now()), time.Millisecond)
}
