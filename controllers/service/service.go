// Package service gives every MiniService its virtual IP and its node ports, and writes them into its status.
//
// The idea: internal/serviceip remembers what was given and decides; this package feeds it with what the API says and
// stores its answers. The leader is the only writer. Before its first answer it reads all services, past the cache, since
// what the leader before it wrote last may not be in the cache yet.
//
// A second small controller watches native Services: their node ports are not ours to give, and one that a native Service
// got is taken away from the MiniService that had it. Whatever becomes free is offered to the services that wait for it;
// nothing is polled.
package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/internal/serviceip"
	"miniplane.dev/miniplane/internal/statuspatch"
)

// workers is how many services are written at a time; the decisions are made one after the other.
const workers = 4

// Options say what may be given.
type Options struct {
	// ServiceCIDR is the range of the virtual IPs.
	ServiceCIDR netip.Prefix
	// NodePorts is the range of the node ports.
	NodePorts ipam.PortRange
}

// ByObject is what this package needs the manager's cache to hold: of native Services, the ports.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&corev1.Service{}: {Transform: onlyPorts}}
}

// Setup adds the controller to the manager.
func Setup(mgr ctrl.Manager, opts Options) error {
	r := &reconciler{
		client:   mgr.GetClient(),
		reader:   mgr.GetAPIReader(),
		recorder: mgr.GetEventRecorder("miniplane-service"),
		allocator: serviceip.New(ipam.New(opts.ServiceCIDR), ipam.NewPorts(opts.NodePorts),
			rand.IntN),
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("service").
		For(&miniv1.MiniService{}).
		WatchesRawSource(source.Func(r.waker.start)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("service-native-ports").
		For(&corev1.Service{}).
		Complete(reconcile.Func(r.reconcileNative))
}

type reconciler struct {
	client    client.Client
	reader    client.Reader // past the cache
	recorder  events.EventRecorder
	allocator *serviceip.Allocator
	waker     waker

	restoring sync.Mutex
	restored  bool
}

// Reconcile gives one MiniService what it asks for.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := r.restore(ctx); err != nil {
		return ctrl.Result{}, err
	}
	var service miniv1.MiniService
	if err := r.client.Get(ctx, req.NamespacedName, &service); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.waker.wake(r.allocator.Release(req.NamespacedName))
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if service.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	grant, wake := r.allocator.Claim(&service)
	r.waker.wake(wake)

	before := service.DeepCopy()
	setStatus(&service, grant)
	changed, err := statuspatch.Patch(ctx, r.client, before, &service)
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if changed {
		r.tell(before, &service)
	}
	return ctrl.Result{}, nil
}

// reconcileNative notes the node ports of one native Service.
func (r *reconciler) reconcileNative(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := r.restore(ctx); err != nil {
		return ctrl.Result{}, err
	}
	var service corev1.Service
	if err := r.client.Get(ctx, req.NamespacedName, &service); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	r.waker.wake(r.allocator.SetNative(req.NamespacedName, serviceip.NativePorts(&service)))
	return ctrl.Result{}, nil
}

// restore fills the allocator, once, before its first answer.
func (r *reconciler) restore(ctx context.Context) error {
	r.restoring.Lock()
	defer r.restoring.Unlock()
	if r.restored {
		return nil
	}
	var services miniv1.MiniServiceList
	if err := r.reader.List(ctx, &services); err != nil {
		return fmt.Errorf("reading what services have: %w", err)
	}
	var native corev1.ServiceList
	if err := r.reader.List(ctx, &native); err != nil {
		return fmt.Errorf("reading the node ports of native Services: %w", err)
	}
	r.allocator.Restore(services.Items, native.Items)
	r.restored = true
	return nil
}

// waker puts services back into the controller's queue.
type waker struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

func (w *waker) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = queue
	return nil
}

// wake queues the services. Before the controller started there is no need: it looks at all of them anyway.
func (w *waker) wake(names []types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue == nil {
		return
	}
	for _, name := range names {
		w.queue.Add(reconcile.Request{NamespacedName: name})
	}
}

// onlyPorts drops from a native Service what is not needed here, before it is kept in memory.
func onlyPorts(object any) (any, error) {
	service, ok := object.(*corev1.Service)
	if !ok {
		return object, nil
	}
	out := &corev1.Service{}
	out.Name, out.Namespace, out.UID, out.ResourceVersion = service.Name, service.Namespace, service.UID, service.ResourceVersion
	out.Spec.Type, out.Spec.HealthCheckNodePort = service.Spec.Type, service.Spec.HealthCheckNodePort
	for _, port := range service.Spec.Ports {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{Protocol: port.Protocol, NodePort: port.NodePort})
	}
	return out, nil
}
