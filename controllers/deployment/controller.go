// Package deployment rolls changes of MiniDeployments out over MiniReplicaSets.
//
// A pass observes the sets of one MiniDeployment, asks package rollout for the next step, takes it, and writes the status
// once, also when the pass failed. A step is made from what is observed alone, so a new manager goes on in the middle of
// a rollout where the old one was stopped. The spec is never written.
//
// What makes it hard: acting on an outdated cache. Sets have names that follow from their template, so none is created
// twice, and a set is changed only in the version that was seen; a step that meets another version ends, and the next
// pass observes again.
package deployment

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
	"miniplane.dev/miniplane/internal/statuspatch"
)

const (
	// name of the controller, in logs, metrics and Events.
	name = "miniplane-deployment"
	// firstRetry and lastRetry bound the back-off after a failed pass.
	firstRetry, lastRetry = 20 * time.Millisecond, 30 * time.Second
	// afterConflict is when a pass is repeated that saw an outdated object.
	afterConflict = 50 * time.Millisecond
)

var kind = miniv1.GroupVersion.WithKind("MiniDeployment")

// Options of the controller. The zero value is good.
type Options struct {
	// Concurrency is how many MiniDeployments are worked on at a time; 16 when 0.
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
		For(&miniv1.MiniDeployment{}).
		Watches(&miniv1.MiniReplicaSet{}, r.setEvents()).
		Watches(&miniv1.MiniPod{}, r.podEvents()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: opts.Concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(r)
}

// Reconciler makes one pass at a time for each MiniDeployment.
type Reconciler struct {
	client client.Client
	live   client.Reader
	events events.EventRecorder
	now    func() time.Time
}

// NewReconciler makes a Reconciler. Live reads past the cache that c reads from; now is the clock.
func NewReconciler(c client.Client, live client.Reader, recorder events.EventRecorder, now func() time.Time) *Reconciler {
	return &Reconciler{client: c, live: live, events: recorder, now: now}
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &scope{deployment: &miniv1.MiniDeployment{}, now: r.now()}
	if err := r.client.Get(ctx, req.NamespacedName, s.deployment); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return r.finish(ctx, s, r.phases(ctx, s))
}

func (r *Reconciler) phases(ctx context.Context, s *scope) error {
	for _, phase := range []func(context.Context, *scope) error{
		r.gather, r.claim, r.countPods, r.plan, r.create, r.change, r.trim, r.showRevision,
	} {
		if err := phase(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the status and reports the Events, then says when to come back: the error of the phases backs off, a
// conflict is repeated soon.
func (r *Reconciler) finish(ctx context.Context, s *scope, passErr error) (ctrl.Result, error) {
	wake, err := time.Duration(0), error(nil)
	if s.planned {
		before := s.deployment.DeepCopy()
		wake = s.updateStatus()
		if _, err = statuspatch.Patch(ctx, r.client, before, s.deployment); err == nil {
			r.report(s)
		}
	}
	err = errors.Join(passErr, client.IgnoreNotFound(err))
	if apierrors.IsConflict(passErr) || errors.Is(passErr, errAgain) {
		return ctrl.Result{RequeueAfter: afterConflict}, nil
	}
	return ctrl.Result{RequeueAfter: wake}, err
}
