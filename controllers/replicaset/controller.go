// Package replicaset keeps as many MiniPods running as each MiniReplicaSet asks for.
//
// A pass observes the MiniPods of one set, asks package replicas what to do, does it, and writes the status once, also
// when the pass failed. How MiniPods are observed, created and deleted is package podcontrol's.
//
// What makes it hard: thousands of replicas at once. Events of MiniPods that change no count wake nobody; those that do are
// gathered for a moment, so that a set writes its status dozens of times a second at most, not once per MiniPod.
package replicaset

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/statuspatch"
)

const (
	// name of the controller, in logs, metrics and Events.
	name = "miniplane-replicaset"
	// firstRetry and lastRetry bound the back-off after a failed pass. Quota may become free without an event, so the
	// last is short.
	firstRetry, lastRetry = 20 * time.Millisecond, 30 * time.Second
	// afterConflict is when a pass is repeated that saw an outdated object.
	afterConflict = 50 * time.Millisecond
)

var kind = miniv1.GroupVersion.WithKind("MiniReplicaSet")

// Options of the controller. The zero value is good.
type Options struct {
	// Concurrency is how many sets are worked on at a time; 16 when 0.
	Concurrency int
}

// Setup adds the controller to the manager. The indexes of package index must be there.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Concurrency == 0 {
		opts.Concurrency = 16
	}
	r := NewReconciler(mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder(name), time.Now)
	return ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(&miniv1.MiniReplicaSet{}).
		Watches(&miniv1.MiniPod{}, r.pods.Events(r.interest())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: opts.Concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(r)
}

// Reconciler makes one pass at a time for each MiniReplicaSet.
type Reconciler struct {
	client client.Client
	events events.EventRecorder
	now    func() time.Time
	pods   *podcontrol.Control
}

// NewReconciler makes a Reconciler. Live reads past the cache that c reads from; now is the clock.
func NewReconciler(c client.Client, live client.Reader, recorder events.EventRecorder, now func() time.Time) *Reconciler {
	return &Reconciler{client: c, events: recorder, now: now, pods: podcontrol.New(c, live, kind, now)}
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	set := &miniv1.MiniReplicaSet{}
	if err := r.client.Get(ctx, req.NamespacedName, set); err != nil {
		if apierrors.IsNotFound(err) {
			r.pods.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{set: set, now: r.now()}
	err := r.phases(ctx, s)
	if errors.Is(err, podcontrol.ErrUnseen) {
		return ctrl.Result{RequeueAfter: podcontrol.Patience}, nil
	}
	return r.finish(ctx, s, err)
}

func (r *Reconciler) phases(ctx context.Context, s *scope) error {
	for _, phase := range []func(context.Context, *scope) error{r.gather, r.plan, r.claim, r.create, r.delete} {
		if err := phase(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the status, then says when to come back: the error of the phases backs off, a conflict is repeated soon.
func (r *Reconciler) finish(ctx context.Context, s *scope, passErr error) (ctrl.Result, error) {
	wake, err := time.Duration(0), error(nil)
	if s.planned {
		before := s.set.DeepCopy()
		wake = s.updateStatus()
		if _, err = statuspatch.Patch(ctx, r.client, before, s.set); err == nil {
			r.report(before, s.set)
		}
	}
	err = errors.Join(passErr, client.IgnoreNotFound(err))
	if apierrors.IsConflict(passErr) {
		return ctrl.Result{RequeueAfter: afterConflict}, nil
	}
	return ctrl.Result{RequeueAfter: wake}, err
}
