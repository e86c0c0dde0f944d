package replicaset

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// gatherTime is how long changes of MiniPods are gathered before their set looks at them.
const gatherTime = 20 * time.Millisecond

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// podEvents wakes the sets that a MiniPod's event concerns: its owner, or, if it has none, all that select it.
func (r *Reconciler) podEvents() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { r.wake(ctx, q, 0, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*miniv1.MiniPod), e.ObjectNew.(*miniv1.MiniPod)
			switch {
			case !maps.Equal(before.Labels, after.Labels), ownerOf(before) != ownerOf(after):
				r.wake(ctx, q, 0, before, after)
			case podstate.IsActive(before) != podstate.IsActive(after):
				r.wake(ctx, q, 0, after)
			case !sameReadiness(before, after):
				r.wake(ctx, q, gatherTime, after)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.wake(ctx, q, 0, e.Object) },
	}
}

func (r *Reconciler) wake(ctx context.Context, q queue, after time.Duration, pods ...client.Object) {
	for _, pod := range pods {
		for _, set := range r.concerned(ctx, pod) {
			q.AddAfter(reconcile.Request{NamespacedName: set}, after)
		}
	}
}

// concerned are the sets that a MiniPod belongs to, or could belong to.
func (r *Reconciler) concerned(ctx context.Context, pod client.Object) []types.NamespacedName {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		if owner.Kind != kind.Kind {
			return nil
		}
		return []types.NamespacedName{{Namespace: pod.GetNamespace(), Name: owner.Name}}
	}
	if podstate.IsDeleting(pod.(*miniv1.MiniPod)) {
		return nil
	}
	list := &miniv1.MiniReplicaSetList{}
	if err := r.client.List(ctx, list, client.InNamespace(pod.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache answers, or the manager is going down
	}
	var out []types.NamespacedName
	for i := range list.Items {
		selector, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && selector.Matches(labels.Set(pod.GetLabels())) {
			out = append(out, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return slices.Clip(out)
}

func ownerOf(pod *miniv1.MiniPod) types.UID {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		return owner.UID
	}
	return ""
}

// sameReadiness tells whether both versions of a MiniPod count alike, now and with time.
func sameReadiness(before, after *miniv1.MiniPod) bool {
	is := meta.FindStatusCondition(after.Status.Conditions, miniv1.ConditionReady)
	was := meta.FindStatusCondition(before.Status.Conditions, miniv1.ConditionReady)
	if is == nil || was == nil {
		return podstate.IsReady(before) == podstate.IsReady(after)
	}
	return is.Status == was.Status && is.LastTransitionTime.Equal(&was.LastTransitionTime)
}
