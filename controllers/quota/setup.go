// Package quota keeps the status of MiniQuotas true, and has the API server enforce their object counts.
//
// The idea: the scheduler charges compute when it binds, from its own ledger; this controller only tells what is charged,
// by the same arithmetic (internal/quota) over the same bound MiniPods. Object counts must be refused at the moment of
// creation, which only the API server can; it does so for any resource with a native ResourceQuota, so the controller keeps
// one per MiniQuota and mirrors its numbers.
//
// The algorithm of a reconcile: get; unknown keys?; native ResourceQuota as it should be; used from the bound MiniPods
// and from the native one; who waits; one status patch.
//
// What makes it hard is only volume: every binding and every end of a MiniPod changes the numbers of its namespace. So news of
// MiniPods are let pass only when they change a number, and are gathered for a moment before the sum is made again.
package quota

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// defaultGather is how long news of MiniPods are gathered.
const defaultGather = 200 * time.Millisecond

// Options of the controller. The zero value is the default.
type Options struct {
	// Workers is how many MiniQuotas are reconciled at once; 2 when 0.
	Workers int
	// Gather is how long news of MiniPods are gathered before status.used is computed again; 200 ms when 0.
	Gather time.Duration
}

// Reconciler keeps one MiniQuota true at a time.
type Reconciler struct {
	client client.Client
	reader client.Reader // past the cache
	gather time.Duration
}

// Setup adds the controller to the manager.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Workers == 0 {
		opts.Workers = 2
	}
	if opts.Gather == 0 {
		opts.Gather = defaultGather
	}
	r := &Reconciler{client: mgr.GetClient(), reader: mgr.GetAPIReader(), gather: opts.Gather}
	return ctrl.NewControllerManagedBy(mgr).
		Named("miniquota").
		For(&miniv1.MiniQuota{}).
		Owns(&corev1.ResourceQuota{}).
		Watches(&miniv1.MiniPod{}, r.podEvents()).
		WithOptions(controller.Options{MaxConcurrentReconciles: opts.Workers}).
		Complete(r)
}

type podQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// podEvents enqueues the MiniQuotas of a namespace when a MiniPod there changes a number.
func (r *Reconciler) podEvents() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q podQueue) { r.enqueue(ctx, e.Object, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q podQueue) { r.enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q podQueue) {
			if countsDifferently(e.ObjectOld.(*miniv1.MiniPod), e.ObjectNew.(*miniv1.MiniPod)) {
				r.enqueue(ctx, e.ObjectNew, q)
			}
		},
	}
}

// enqueue asks for the MiniQuotas of the object's namespace, once the news are gathered.
func (r *Reconciler) enqueue(ctx context.Context, o client.Object, q podQueue) {
	quotas := &miniv1.MiniQuotaList{}
	if err := r.client.List(ctx, quotas, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing the quotas of a namespace", "namespace", o.GetNamespace())
		return
	}
	for i := range quotas.Items {
		q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&quotas.Items[i])}, r.gather)
	}
}

// countsDifferently tells whether a change of a MiniPod can change a number of a quota.
func countsDifferently(before, now *miniv1.MiniPod) bool {
	return podstate.HoldsQuota(before) != podstate.HoldsQuota(now) || before.Generation != now.Generation ||
		!maps.Equal(waits(before), waits(now))
}

// waits is what a MiniPod waits for, in the words of its condition.
func waits(pod *miniv1.MiniPod) map[string]string {
	c := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionPodScheduled)
	if c == nil || c.Reason != miniv1.ReasonQuotaExceeded {
		return nil
	}
	return map[string]string{c.Reason: c.Message}
}
