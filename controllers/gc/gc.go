// Package gc removes what is left over and what nobody else removes.
//
// Most of it is done elsewhere, and not repeated here. Owner references, by which Kubernetes itself collects garbage, cover
// MiniReplicaSets of a MiniDeployment, MiniPods of a MiniReplicaSet, EndpointSlices of a MiniService and the native
// ResourceQuota of a MiniQuota. MiniPods that are bound to a node that does not exist any more, their finalizers and the
// MiniNode itself are the node controller's (controllers/node), since they hang on the same question: is the agent gone?
//
// What remains are objects without an owner reference:
//   - Leases of agents whose MiniNode is gone, once they have not been renewed for leaseAge;
//   - EndpointSlices in our name that lost their owner reference, as backups that are restored do, and whose MiniService is
//     gone.
//
// Both are looked at when they appear and when the object that they belong to goes; nothing is swept periodically.
package gc

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/endpoints"
)

// leaseAge is how long an agent without a MiniNode must have been silent before its Lease is removed.
const leaseAge = time.Minute

// Options of the controllers.
type Options struct {
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Setup adds the controllers to the manager.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &reconciler{client: mgr.GetClient(), reader: mgr.GetAPIReader(), now: opts.Now}
	appears := builder.WithPredicates(predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }})
	goes := builder.WithPredicates(predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("gc-lease").
		For(&coordinationv1.Lease{}, appears).
		Watches(&miniv1.MiniNode{}, handler.EnqueueRequestsFromMapFunc(leaseOf), goes).
		Complete(reconcile.Func(r.lease))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("gc-endpointslice").
		For(&discoveryv1.EndpointSlice{}, builder.WithPredicates(predicate.NewPredicateFuncs(isOrphan))).
		Watches(&miniv1.MiniService{}, handler.EnqueueRequestsFromMapFunc(r.orphansOf), goes).
		Complete(reconcile.Func(r.endpointSlice))
}

type reconciler struct {
	client client.Client
	reader client.Reader // past the cache
	now    func() time.Time
}

func leaseOf(_ context.Context, node client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: miniv1.SystemNamespace, Name: node.GetName()}}}
}

// lease removes the Lease of an agent that is gone. An agent's Lease is named after its node and held by it; others, such as
// the manager's own, are left alone. Its age is by two clocks, the node's and ours, and that is enough here: an agent whose Lease
// was taken away makes it again with its next heartbeat.
func (r *reconciler) lease(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var lease coordinationv1.Lease
	if err := r.client.Get(ctx, req.NamespacedName, &lease); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	holder, renewed := lease.Spec.HolderIdentity, lease.Spec.RenewTime
	if lease.Namespace != miniv1.SystemNamespace || holder == nil || *holder != lease.Name || renewed == nil {
		return ctrl.Result{}, nil
	}
	err := r.client.Get(ctx, client.ObjectKey{Name: lease.Name}, &miniv1.MiniNode{})
	if client.IgnoreNotFound(err) != nil || err == nil {
		return ctrl.Result{}, err
	}
	if wait := renewed.Add(leaseAge).Sub(r.now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	log.FromContext(ctx).Info("removing the Lease of an agent that is gone")
	return ctrl.Result{}, r.remove(ctx, &lease)
}

func isOrphan(slice client.Object) bool {
	return metav1.GetControllerOf(slice) == nil && slice.GetLabels()[discoveryv1.LabelManagedBy] == endpoints.ManagedBy
}

func (r *reconciler) orphansOf(ctx context.Context, service client.Object) []reconcile.Request {
	var slices discoveryv1.EndpointSliceList
	err := r.client.List(ctx, &slices, client.InNamespace(service.GetNamespace()), client.MatchingLabels(endpoints.Labels(service.GetName())))
	if err != nil {
		log.FromContext(ctx).Error(err, "listing the EndpointSlices of a MiniService that is gone")
	}
	var out []reconcile.Request
	for i := range slices.Items {
		if isOrphan(&slices.Items[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&slices.Items[i])})
		}
	}
	return out
}

// endpointSlice removes a slice without an owner whose service is gone.
func (r *reconciler) endpointSlice(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var slice discoveryv1.EndpointSlice
	if err := r.client.Get(ctx, req.NamespacedName, &slice); err != nil || !isOrphan(&slice) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	key := client.ObjectKey{Namespace: slice.Namespace, Name: slice.Labels[miniv1.ServiceNameLabel]}
	err := r.reader.Get(ctx, key, &miniv1.MiniService{})
	if client.IgnoreNotFound(err) != nil || err == nil {
		return ctrl.Result{}, err // where the service exists, the endpoints controller replaces the slice
	}
	return ctrl.Result{}, r.remove(ctx, &slice)
}

// remove deletes this very version of an object; a conflict means that somebody still uses it.
func (r *reconciler) remove(ctx context.Context, object client.Object) error {
	uid, version := object.GetUID(), object.GetResourceVersion()
	return client.IgnoreNotFound(r.client.Delete(ctx, object, client.Preconditions{UID: &uid, ResourceVersion: &version}))
}
