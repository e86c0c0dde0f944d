// Package job runs MiniPods until enough of them have ended well, as each MiniJob asks for.
//
// A pass observes the MiniPods of one MiniJob, asks package jobplan what to do, writes down what must be known first, does it, and
// writes the status. How MiniPods are observed, created and deleted is package podcontrol's. MiniPods hold a finalizer until
// they are counted; the other reconciler here takes it off those whose MiniJob is gone.
//
// What makes it hard: a MiniPod must count once, and a cache may show it, or the MiniJob, as it was before it was counted. So a
// status is written for the very version that it was made from; what this process wrote and let go is remembered until the cache
// shows it; and a process that sees a MiniJob for the first time compares the cache with the API server before it believes it.
package job

import (
	"context"
	"errors"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jobplan"
	"miniplane.dev/miniplane/internal/podcontrol"
)

const (
	// name of the controller, in logs, metrics and Events; orphans is the other's.
	name, orphans = "miniplane-job", "miniplane-job-orphans"
	// firstRetry and lastRetry bound the back-off after a failed pass. Quota may become free without an event, so the
	// last is short.
	firstRetry, lastRetry = 20 * time.Millisecond, 30 * time.Second
	// afterConflict is when a pass is repeated that saw an outdated object.
	afterConflict = 50 * time.Millisecond
	// afterRelease is when a pass comes that counts what was let go, at the latest: usually the events of those MiniPods bring it, but one
	// may have been gone before.
	afterRelease = time.Second
)

var kind = miniv1.GroupVersion.WithKind("MiniJob")

// errOutdated stops a pass without a trace: the cache shows an earlier MiniJob, or earlier MiniPods, than there are.
var errOutdated = errors.New("the cache is behind")

// Options of the controller. The zero value is good.
type Options struct {
	// Concurrency is how many MiniJobs are worked on at a time; 16 when 0.
	Concurrency int
}

// Setup adds the controllers to the manager. The indexes of package index must be there.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Concurrency == 0 {
		opts.Concurrency = 16
	}
	options := controller.Options{
		MaxConcurrentReconciles: opts.Concurrency,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
	}
	r := NewReconciler(mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder(name), time.Now)
	err := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(&miniv1.MiniJob{}).
		Watches(&miniv1.MiniPod{}, r.pods.Events(r.interest())).
		WithOptions(options).
		Complete(r)
	if err != nil {
		return err
	}
	options.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry)
	return ctrl.NewControllerManagedBy(mgr).
		Named(orphans).
		Watches(&miniv1.MiniPod{}, orphanEvents()).
		Watches(&miniv1.MiniJob{}, r.jobGoes()).
		WithOptions(options).
		Complete(reconcile.Func(r.Orphan))
}

// Reconciler makes one pass at a time for each MiniJob.
type Reconciler struct {
	client client.Client
	live   client.Reader
	events events.EventRecorder
	now    func() time.Time
	pods   *podcontrol.Control
	// memories has a *memory for each MiniJob.
	memories sync.Map
}

// NewReconciler makes a Reconciler. Live reads past the cache that c reads from; now is the clock.
func NewReconciler(c client.Client, live client.Reader, recorder events.EventRecorder, now func() time.Time) *Reconciler {
	return &Reconciler{client: c, live: live, events: recorder, now: now,
		pods: podcontrol.New(c, live, kind, now).Tracked(miniv1.JobFinalizer)}
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	job := &miniv1.MiniJob{}
	if err := r.client.Get(ctx, req.NamespacedName, job); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !ours(job) {
		return ctrl.Result{}, nil
	}
	s := &scope{job: job, before: job.DeepCopy(), now: r.now(), memory: r.remember(job)}
	err := r.phases(ctx, s)
	switch {
	case errors.Is(err, podcontrol.ErrUnseen):
		return ctrl.Result{RequeueAfter: podcontrol.Patience}, nil
	case errors.Is(err, errOutdated):
		return ctrl.Result{RequeueAfter: afterConflict}, nil
	}
	return r.finish(ctx, s, err)
}

func (r *Reconciler) phases(ctx context.Context, s *scope) error {
	for _, phase := range []func(context.Context, *scope) error{
		r.gather, r.compare, r.claim, r.plan, r.store, r.end, r.release, r.drop, r.create, r.trim, r.expire,
	} {
		if err := phase(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the status, then says when to come back: the error of the phases backs off, a conflict is repeated soon. What
// was written down first is not written again but to finish the MiniJob, or to tell of a failure: the MiniPods that were let go
// wake the next pass.
func (r *Reconciler) finish(ctx context.Context, s *scope, passErr error) (ctrl.Result, error) {
	var err error
	wake := s.todo.Wake
	if s.planned {
		if after := s.todo.After(s.seen, s.done); !s.stored || jobplan.Finishes(&after) || s.done.Failure.Reason != "" {
			err = r.write(ctx, s, after)
		} else if wake == 0 || wake > afterRelease {
			wake = afterRelease
		}
		if err == nil {
			r.report(s.before, s.job, s.done.Failure)
		}
	}
	err = errors.Join(passErr, client.IgnoreNotFound(err))
	if apierrors.IsConflict(err) || errors.Is(err, errOutdated) {
		return ctrl.Result{RequeueAfter: afterConflict}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: wake}, nil
}

// ours tells whether a MiniJob is this controller's to work on.
func ours(job *miniv1.MiniJob) bool {
	by := job.Spec.ManagedBy
	return by == nil || *by == miniv1.JobControllerName || *by == batchv1.JobControllerName
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.pods.Forget(key)
	r.memories.Delete(key)
}
