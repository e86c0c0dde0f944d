package node

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/nodelife"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func add(q queue, name string) {
	q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
}

// onNode queues the name of a core Node that came or went; what is in it is no matter here.
func (r *reconciler) onNode() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object.GetName()) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object.GetName()) },
	}
}

// onLease notes heartbeats. When an agent comes back, it is looked at, and so are all that are silent: they may have been
// thought lost only because nobody was heard at all.
func (r *reconciler) onLease() handler.EventHandler {
	observe := func(object client.Object, q queue) {
		lease := object.(*coordinationv1.Lease)
		if lease.Namespace != miniv1.SystemNamespace || lease.Spec.RenewTime == nil {
			return
		}
		if r.tracker.Observe(lease.Name, lease.Spec.RenewTime.Time, r.now()) {
			add(q, lease.Name)
			for _, name := range r.tracker.NotAlive(r.now()) {
				add(q, name)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { observe(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { observe(e.ObjectNew, q) },
	}
}

// onPod queues the node of a MiniPod that came to it, or went, although its agent is not known to be alive, or although there
// is no such node.
func (r *reconciler) onPod() handler.EventHandler {
	look := func(object client.Object, q queue) {
		node := object.(*miniv1.MiniPod).Status.NodeName
		if node != "" && r.tracker.Health(node, r.now()).State != nodelife.Alive {
			add(q, node)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { look(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.(*miniv1.MiniPod).Status.NodeName != e.ObjectNew.(*miniv1.MiniPod).Status.NodeName {
				look(e.ObjectNew, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { look(e.Object, q) },
	}
}
