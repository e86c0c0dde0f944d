package eviction

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/internal/podstate"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func add(q queue, name string) {
	for _, request := range requests(name) {
		q.Add(request)
	}
}

func requests(names ...string) (out []reconcile.Request) {
	for _, name := range names {
		if name != "" {
			out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
		}
	}
	return out
}

// onNode queues a node whose taints or cordon changed. Kubelets write the rest of it all the time.
func (r *reconciler) onNode() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object.GetName()) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)
			if !sameToUs(before, after) {
				// Here and not only when it is looked at: two changes may make one look, and a taint that went and came back is a new one.
				r.sightings.Observe(after.Name, after.Spec.Taints, r.now())
				add(q, after.Name)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object.GetName()) },
	}
}

// onMiniNode queues a MiniNode that came or went.
func (r *reconciler) onMiniNode() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object.GetName()) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectNew.GetDeletionTimestamp() != nil {
				add(q, e.ObjectNew.GetName())
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object.GetName()) },
	}
}

// onMiniPod queues the node of a MiniPod that came to it, ended, was let go of by its agent, or went, where that matters.
func (r *reconciler) onMiniPod() handler.EventHandler {
	look := func(object client.Object, q queue) {
		if node := object.(*miniv1.MiniPod).Status.NodeName; r.isWatched(node) {
			add(q, node)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { look(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*miniv1.MiniPod), e.ObjectNew.(*miniv1.MiniPod)
			if before.Status.NodeName != after.Status.NodeName || before.Status.Phase != after.Status.Phase ||
				podstate.MayBeThere(before) != podstate.MayBeThere(after) {
				look(after, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { look(e.Object, q) },
	}
}

func (r *reconciler) isWatched(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.nodes[node]
	return ok && known.watched
}

// onMarker queues the node of a drain marker.
func (r *reconciler) onMarker() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, marker client.Object) []reconcile.Request {
		return requests(eviction.MarkedNode(marker))
	})
}

// onGuard queues all nodes, and all that have a drain marker.
func (r *reconciler) onGuard() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		var nodes miniv1.MiniNodeList
		var markers corev1.PodList
		for _, list := range []client.ObjectList{&nodes, &markers} {
			if err := r.client.List(ctx, list); err != nil {
				log.FromContext(ctx).Error(err, "Listing from the cache")
			}
		}
		var names []string
		for i := range nodes.Items {
			names = append(names, nodes.Items[i].Name)
		}
		for i := range markers.Items {
			names = append(names, eviction.MarkedNode(&markers.Items[i]))
		}
		return requests(names...)
	})
}
