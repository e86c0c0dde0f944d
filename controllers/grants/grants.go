// Package grants lets the agent of each node read the Secrets and ConfigMaps that its MiniPods use, and no others.
//
// Idea. internal/grants decides; one reconcile is about one node in one namespace, and writes that node's Role there, its RoleBinding,
// and the ServiceAccount in whose name its agent reads, all at once. MiniPods that name nothing queue nothing.
//
// What makes it hard: a start waits for these writes, so nothing else may stand in their way, and the power to write Roles is the
// power over a cluster. The policy grants.miniplane.dev holds the manager to Roles such as internal/grants makes.
package grants

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/index"
)

const (
	workers = 8
	// keepFor is how long a right stays that no MiniPod uses any more.
	keepFor = 5 * time.Minute
)

// Options of the controller.
type Options struct {
	// Keep is how long a right stays that is not used; five minutes when zero.
	Keep time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// ByObject is what this package needs the manager's cache to hold: of all Roles its own. The ServiceAccounts are there for the scheduler.
func ByObject() map[client.Object]cache.ByObject {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{miniv1.GrantLabel: "true"})}
	return map[client.Object]cache.ByObject{&rbacv1.Role{}: ours, &rbacv1.RoleBinding{}: ours}
}

// roleNode finds the Roles of a node.
const roleNode = "grants.node"

// Setup adds the controller to the manager.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	if o.Keep == 0 {
		o.Keep = keepFor
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &rbacv1.Role{}, roleNode, func(o client.Object) []string {
		node, _ := grants.NodeOf(o.GetName())
		return []string{node}
	}); err != nil {
		return err
	}
	r := &reconciler{client: mgr.GetClient(), reader: mgr.GetAPIReader(), keep: o.Keep, now: o.Now, unused: map[types.NamespacedName]grants.Unused{}}
	return ctrl.NewControllerManagedBy(mgr).
		Named("grants").
		Watches(&miniv1.MiniPod{}, handler.EnqueueRequestsFromMapFunc(ofPod), builder.WithPredicates(changed(usesOf))).
		Watches(&rbacv1.Role{}, handler.EnqueueRequestsFromMapFunc(ofRole)).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(ofRole)).
		Watches(&miniv1.MiniNode{}, handler.EnqueueRequestsFromMapFunc(r.ofNode), builder.WithPredicates(changed(nodeOf))).
		Watches(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(r.ofNode), builder.WithPredicates(predicate.NewPredicateFuncs(ofANode), changed(uidOf))).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

// changed lets all events pass but updates that leave what counts as it was: statuses of MiniPods and MiniNodes change all the time.
func changed[T comparable](counts func(client.Object) T) predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return counts(e.ObjectOld) != counts(e.ObjectNew) }}
}

func usesOf(o client.Object) string {
	pod := o.(*miniv1.MiniPod)
	return fmt.Sprint(pod.Status.NodeName, grants.Used([]*miniv1.MiniPod{pod}))
}

func nodeOf(o client.Object) grants.Node { return grants.Of(o.(*miniv1.MiniNode)) }

func uidOf(o client.Object) types.UID { return o.GetUID() }

// ofANode tells whether a ServiceAccount is that of a node.
func ofANode(o client.Object) bool { return o.GetNamespace() == miniv1.NodesNamespace }

// Names are of a node in a namespace.
func request(namespace, node string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: node}}
}

func ofPod(_ context.Context, o client.Object) []reconcile.Request {
	pod := o.(*miniv1.MiniPod)
	if pod.Status.NodeName == "" || len(grants.References(pod)) == 0 {
		return nil
	}
	return []reconcile.Request{request(pod.Namespace, pod.Status.NodeName)}
}

func ofRole(_ context.Context, o client.Object) []reconcile.Request {
	node, ok := grants.NodeOf(o.GetName())
	if !ok {
		return nil
	}
	return []reconcile.Request{request(o.GetNamespace(), node)}
}

// ofNode is every namespace in which a node has a Role or needs one: for a MiniNode or a ServiceAccount that comes, goes or changes.
func (r *reconciler) ofNode(ctx context.Context, o client.Object) []reconcile.Request {
	var roles rbacv1.RoleList
	var pods miniv1.MiniPodList
	// A cache that does not answer is ending, and the manager with it.
	if r.client.List(ctx, &roles, client.MatchingFields{roleNode: o.GetName()}, client.UnsafeDisableDeepCopy) != nil ||
		r.client.List(ctx, &pods, client.MatchingFields{index.PodNode: o.GetName()}, client.UnsafeDisableDeepCopy) != nil {
		return nil
	}
	out := map[reconcile.Request]bool{}
	for i := range roles.Items {
		out[request(roles.Items[i].Namespace, o.GetName())] = true
	}
	for i := range pods.Items {
		for _, of := range ofPod(ctx, &pods.Items[i]) {
			out[of] = true
		}
	}
	return slices.Collect(maps.Keys(out))
}

type reconciler struct {
	client client.Client
	reader client.Reader // the API server itself
	keep   time.Duration
	now    func() time.Time

	mu     sync.Mutex
	unused map[types.NamespacedName]grants.Unused
}

// Reconcile makes the rights of a node in a namespace what its MiniPods there need.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	used, err := r.used(ctx, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	var role rbacv1.Role
	err = r.client.Get(ctx, client.ObjectKey{Namespace: req.Namespace, Name: grants.RoleName(req.Name)}, &role)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	var node miniv1.MiniNode
	err = r.client.Get(ctx, client.ObjectKey{Name: req.Name}, &node)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	there, keep := err == nil, r.keep
	if !there {
		keep = 0
	}
	want, again := r.plan(req.NamespacedName, used, grants.Granted(&role), keep)
	if len(want) == 0 {
		return ctrl.Result{}, r.revoke(ctx, req)
	}
	if !there {
		return ctrl.Result{}, nil // its MiniNode comes, or its MiniPods go
	}
	if err := r.grant(ctx, req.Namespace, grants.Of(&node), want); err != nil {
		return ctrl.Result{}, err
	}
	if again.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: max(again.Sub(r.now()), time.Millisecond)}, nil // zero would be never
}

func (r *reconciler) used(ctx context.Context, req ctrl.Request) ([]grants.Reference, error) {
	var list miniv1.MiniPodList
	if err := r.client.List(ctx, &list, client.InNamespace(req.Namespace), client.MatchingFields{index.PodNode: req.Name},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	pods := make([]*miniv1.MiniPod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return grants.Used(pods), nil
}

func (r *reconciler) plan(key types.NamespacedName, used, granted []grants.Reference, keep time.Duration) ([]grants.Reference, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unused := r.unused[key]
	if unused == nil {
		unused = grants.Unused{}
	}
	want, again := grants.Plan(used, granted, unused, r.now(), keep)
	r.unused[key] = unused
	if len(unused) == 0 {
		delete(r.unused, key)
	}
	return want, again
}
