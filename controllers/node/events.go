package node

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func add(q queue, name string) {
	q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
}

// onNode queues the name of a core Node that came or went, or says something else about its life.
func (r *reconciler) onNode() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object.GetName()) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if !sameToUs(e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)) {
				add(q, e.ObjectNew.GetName())
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object.GetName()) },
	}
}

// onLease notes heartbeats. When an agent comes back, or has left, it is looked at. When it is the first that is heard again, so are all that are
// silent: they may have been thought lost only because nobody was heard at all. That a machine is heard again is no news: what was
// on it is its agent's to say.
func (r *reconciler) onLease() handler.EventHandler {
	witnesses := r.witnesses()
	observe := func(object client.Object, q queue) {
		lease := object.(*coordinationv1.Lease)
		hear, ok := witnesses[lease.Namespace]
		if !ok {
			return
		}
		if isReleased(lease) {
			add(q, lease.Name)
		}
		beat, ok := beatOf(lease)
		if !ok {
			return
		}
		news := hear(lease.Name, beat, r.now())
		if news.Returned && lease.Namespace == miniv1.SystemNamespace {
			add(q, lease.Name)
		}
		if news.Pardoned {
			for _, name := range r.fleet.Silent(r.now()) {
				add(q, name)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { observe(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { observe(e.ObjectNew, q) },
	}
}

// onPod queues the node of a MiniPod that came to it, goes, or went, although its agent is not known to be alive, or
// although the node leaves, or there is no such node.
func (r *reconciler) onPod() handler.EventHandler {
	look := func(object client.Object, q queue) {
		node := object.(*miniv1.MiniPod).Status.NodeName
		if node != "" && (!r.fleet.AgentAlive(node, r.now()) || r.fleet.IsAway(node)) {
			add(q, node)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { look(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, now := e.ObjectOld.(*miniv1.MiniPod), e.ObjectNew.(*miniv1.MiniPod)
			if before.Status.NodeName != now.Status.NodeName || podstate.IsDeleting(before) != podstate.IsDeleting(now) {
				look(now, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { look(e.Object, q) },
	}
}
