// Package endpoints keeps the EndpointSlices of every MiniService what internal/endpoints says they should be.
//
// The idea: a MiniPod that becomes ready, or stops being it, must reach the proxies at once. An event of a MiniPod finds its
// services through an index of selectors, a reconcile finds the service's MiniPods through an index of labels, so neither
// costs more when there are ten thousand services. A single change is written without delay; the next write of the same
// service waits for paceInterval, and takes with it whatever changed until then.
//
// What makes it hard is the cache, which shows our own writes late. What was written last is remembered until the cache has
// it (see written), so a burst neither fights itself with conflicts nor lists a backend twice.
package endpoints

import (
	"context"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/endpoints"
)

const (
	// workers is how many services are written at a time.
	workers = 8
	// paceInterval is the shortest time between two writes of one service's slices.
	paceInterval = 20 * time.Millisecond
)

// Options of the controller; there are none yet.
type Options struct{}

// ByObject is what this package needs the manager's cache to hold: of all EndpointSlices, ours.
func ByObject() map[client.Object]cache.ByObject {
	ours := labels.SelectorFromSet(labels.Set{endpoints.ProxyNameLabel: miniv1.ServiceProxyName})
	return map[client.Object]cache.ByObject{&discoveryv1.EndpointSlice{}: {Label: ours}}
}

// Setup adds the controller, and the indexes it needs, to the manager.
func Setup(mgr ctrl.Manager, _ Options) error {
	if err := setupIndexes(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	r := &reconciler{client: mgr.GetClient(), reader: mgr.GetAPIReader(), now: time.Now,
		written: newWritten(), pace: newPace(paceInterval), lag: newLag()}
	return ctrl.NewControllerManagedBy(mgr).
		Named("endpoints").
		For(&miniv1.MiniService{}).
		Watches(&miniv1.MiniPod{}, r.onPod()).
		Watches(&discoveryv1.EndpointSlice{}, r.onSlice()).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

type reconciler struct {
	client  client.Client
	reader  client.Reader // past the cache
	now     func() time.Time
	written *written
	pace    *pace
	lag     *lag
}

// Reconcile writes the slices of one service.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if wait := r.pace.wait(req.NamespacedName, r.now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	var service miniv1.MiniService
	if err := r.client.Get(ctx, req.NamespacedName, &service); err != nil {
		r.written.forget(req.NamespacedName)
		r.pace.forget(req.NamespacedName)
		r.lag.take(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if service.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	since, news := r.lag.take(req.NamespacedName)
	written, result, err := r.bring(ctx, &service)
	switch done := err == nil && result.IsZero(); {
	case news && !done:
		r.lag.again(req.NamespacedName, since)
	case news && written:
		lagSeconds.Observe(r.now().Sub(since).Seconds())
	}
	return result, err
}

// bring brings the slices of a service up to date, and tells whether there was something to write.
func (r *reconciler) bring(ctx context.Context, service *miniv1.MiniService) (bool, ctrl.Result, error) {
	pods, err := r.podsOf(ctx, service)
	if err != nil {
		return false, ctrl.Result{}, err
	}
	existing, err := r.slicesOf(ctx, service)
	if err != nil {
		return false, ctrl.Result{}, err
	}
	plan := endpoints.Diff(service, endpoints.Desired(service, pods), existing)
	result, err := r.apply(ctx, service, plan)
	return len(plan.Create)+len(plan.Update)+len(plan.Delete) > 0, result, err
}

// podsOf lists the MiniPods that the service's selector matches; none if it has no selector. They belong to the cache.
func (r *reconciler) podsOf(ctx context.Context, service *miniv1.MiniService) ([]*miniv1.MiniPod, error) {
	if len(service.Spec.Selector) == 0 {
		return nil, nil
	}
	var list miniv1.MiniPodList
	err := r.client.List(ctx, &list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingFields{podLabelIndex: anchor(service.Spec.Selector)}, client.MatchingLabels(service.Spec.Selector))
	out := make([]*miniv1.MiniPod, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, err
}

// slicesOf lists the slices that the service has, the last writes included. They belong to the cache.
func (r *reconciler) slicesOf(ctx context.Context, service *miniv1.MiniService) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := r.client.List(ctx, &list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingFields{sliceServiceIndex: service.Name})
	out := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return r.written.over(types.NamespacedName{Namespace: service.Namespace, Name: service.Name}, out), err
}
