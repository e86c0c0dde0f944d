package deployment

import (
	"context"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// setEvents wakes the MiniDeployments that a set's event concerns: its owner, or, if it has none, all that select it.
func (r *Reconciler) setEvents() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { r.wake(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			r.wake(ctx, q, e.ObjectNew)
			if ownerName(e.ObjectOld) != ownerName(e.ObjectNew) || !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) {
				r.wake(ctx, q, e.ObjectOld)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.wake(ctx, q, e.Object) },
	}
}

// podEvents wakes the MiniDeployment of a MiniPod that is gone, if it waits for that: with the strategy Recreate.
func (r *Reconciler) podEvents() handler.EventHandler {
	return handler.Funcs{DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
		set := &miniv1.MiniReplicaSet{}
		owner := metav1.GetControllerOfNoCopy(e.Object)
		if owner == nil || r.client.Get(ctx, types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: owner.Name}, set) != nil {
			return
		}
		deployment, key := &miniv1.MiniDeployment{}, ownerName(set)
		if key.Name == "" || r.client.Get(ctx, key, deployment) != nil {
			return
		}
		if deployment.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}}
}

func (r *Reconciler) wake(ctx context.Context, q queue, set client.Object) {
	if owner := ownerName(set); owner.Name != "" {
		q.Add(reconcile.Request{NamespacedName: owner})
		return
	}
	if metav1.GetControllerOfNoCopy(set) != nil {
		return
	}
	list := &miniv1.MiniDeploymentList{}
	if err := r.client.List(ctx, list, client.InNamespace(set.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		return // the cache answers, or the manager is going down
	}
	for i := range list.Items {
		selector, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && selector.Matches(labels.Set(set.GetLabels())) {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
}

// ownerName is the MiniDeployment that a set belongs to; empty when there is none.
func ownerName(set client.Object) types.NamespacedName {
	owner := metav1.GetControllerOfNoCopy(set)
	if owner == nil || owner.Kind != kind.Kind {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: set.GetNamespace(), Name: owner.Name}
}
