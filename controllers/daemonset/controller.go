// Package daemonset keeps one MiniPod of each MiniDaemonSet on every node that it wants.
//
// A pass observes the nodes, the MiniPods and the ControllerRevisions of one set, asks package daemonplan what to do, does it, and writes
// the status once, also when the pass failed. A MiniPod is made for its node by spec.nodeName, and bound by the scheduler, which counts its room and its
// namespace's quota as those of any other. How MiniPods are observed, created and deleted is package podcontrol's.
//
// What makes it hard: nodes say something every few seconds, and hardly anything of that concerns a set. A node wakes a set only
// when the set's answer to it changes; what a node's MiniPods say wakes their own sets alone.
package daemonset

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/statuspatch"
)

const (
	// name of the controller, in logs, metrics and Events.
	name = "miniplane-daemonset"
	// firstRetry and lastRetry bound the back-off after a failed pass. Quota may become free without an event, so the
	// last is short.
	firstRetry, lastRetry = 20 * time.Millisecond, 30 * time.Second
	// afterConflict is when a pass is repeated that saw an outdated object.
	afterConflict = 50 * time.Millisecond
)

var kind = miniv1.GroupVersion.WithKind("MiniDaemonSet")

// ByObject is what this package needs the manager's cache to hold of what others own: of all ControllerRevisions those of MiniDaemonSets.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&appsv1.ControllerRevision{}: {Label: labels.SelectorFromSet(daemonplan.RevisionLabels())}}
}

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
		For(&miniv1.MiniDaemonSet{}).
		Owns(&appsv1.ControllerRevision{}).
		Watches(&miniv1.MiniPod{}, r.pods.Events(r.interest())).
		Watches(&miniv1.MiniNode{}, r.miniNodeEvents()).
		Watches(&corev1.Node{}, r.nodeEvents()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: opts.Concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(r)
}

// Reconciler makes one pass at a time for each MiniDaemonSet.
type Reconciler struct {
	client   client.Client
	live     client.Reader
	events   events.EventRecorder
	now      func() time.Time
	pods     *podcontrol.Control
	failures *daemonplan.Failures
}

// NewReconciler makes a Reconciler. Live reads past the cache that c reads from; now is the clock.
func NewReconciler(c client.Client, live client.Reader, recorder events.EventRecorder, now func() time.Time) *Reconciler {
	return &Reconciler{client: c, live: live, events: recorder, now: now, pods: podcontrol.New(c, live, kind, now),
		failures: daemonplan.NewFailures()}
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	set := &miniv1.MiniDaemonSet{}
	if err := r.client.Get(ctx, req.NamespacedName, set); err != nil {
		if apierrors.IsNotFound(err) {
			r.pods.Forget(req.NamespacedName)
			r.failures.Forget(req.NamespacedName)
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
	for _, phase := range []func(context.Context, *scope) error{r.gather, r.plan, r.claim, r.record, r.delete, r.create, r.trim} {
		if err := phase(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the status, then says when to come back: the error of the phases backs off, a conflict is repeated soon.
func (r *Reconciler) finish(ctx context.Context, s *scope, passErr error) (ctrl.Result, error) {
	wake, err := time.Duration(0), error(nil)
	if s.todo != nil {
		before := s.set.DeepCopy()
		s.set.Status, wake = s.todo.Status(s.set, s.done, s.now)
		if _, err = statuspatch.Patch(ctx, r.client, before, s.set); err == nil {
			r.report(before, s)
		}
	}
	err = errors.Join(passErr, client.IgnoreNotFound(err))
	if apierrors.IsConflict(passErr) || errors.Is(passErr, errAgain) {
		return ctrl.Result{RequeueAfter: afterConflict}, nil
	}
	return ctrl.Result{RequeueAfter: wake}, err
}
