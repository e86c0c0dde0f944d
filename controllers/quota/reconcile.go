package quota

import (
	"context"
	"errors"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/quota"
	"miniplane.dev/miniplane/internal/statuspatch"
)

// observed is what one reconcile has seen.
type observed struct {
	used    corev1.ResourceList
	waiting int32
	unknown []string
	// native is what keeps the object counts from being enforced; nil when they are.
	native error
}

// Reconcile makes the native ResourceQuota and the status of one MiniQuota true.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	mq := &miniv1.MiniQuota{}
	if err := r.client.Get(ctx, req.NamespacedName, mq); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if mq.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // the native ResourceQuota goes with it, by its owner reference
	}
	seen := observed{unknown: quota.UnknownKeys(mq.Spec.Hard)}
	pods := &miniv1.MiniPodList{}
	if err := r.client.List(ctx, pods, client.InNamespace(mq.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, err
	}
	uncharged := dischargedOf(pods)
	nativeUsed, err := r.enforceCounts(ctx, mq, uncharged)
	seen.native = err
	seen.count(mq, pods, quota.CountsUsed(mq.Spec.Hard, nativeUsed, uncharged))
	before := mq.DeepCopy()
	seen.fill(mq)
	if _, err := statuspatch.Patch(ctx, r.client, before, mq); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	if errors.Is(seen.native, errNotOurs) {
		return reconcile.Result{RequeueAfter: time.Minute}, nil // said in the condition; nobody tells us when the other goes
	}
	return reconcile.Result{}, seen.native
}

// dischargedOf is how many MiniPods are there and do not count: their node does not answer, and their time is over.
func dischargedOf(pods *miniv1.MiniPodList) (n int64) {
	for i := range pods.Items {
		if podstate.HoldsRoom(&pods.Items[i]) && !podstate.HoldsQuota(&pods.Items[i]) {
			n++
		}
	}
	return n
}

// count sums up what the MiniPods of the namespace are charged, and who waits for this quota.
func (seen *observed) count(mq *miniv1.MiniQuota, pods *miniv1.MiniPodList, counts corev1.ResourceList) {
	bounds := quota.BoundsOf(mq.Spec.Hard)
	var used quota.Usage
	for i := range pods.Items {
		if podstate.HoldsQuota(&pods.Items[i]) {
			used = used.Add(quota.ChargeOf(&pods.Items[i].Spec).Usage)
		}
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; waitsForQuota(pod) {
			if charge := quota.ChargeOf(&pod.Spec); quota.Check(mq.Name, bounds, used, &charge) != nil {
				seen.waiting++
			}
		}
	}
	seen.used = quota.Used(bounds, used)
	maps.Copy(seen.used, counts)
}

func waitsForQuota(pod *miniv1.MiniPod) bool {
	if podstate.IsBound(pod) || !podstate.IsActive(pod) {
		return false
	}
	c := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionPodScheduled)
	return c != nil && c.Reason == miniv1.ReasonQuotaExceeded
}
