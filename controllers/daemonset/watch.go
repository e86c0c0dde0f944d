package daemonset

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/podstate"
)

// gatherTime is how long changes of MiniPods are gathered before their set looks at them.
const gatherTime = 20 * time.Millisecond

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// interest is in what changes a count or a step, now or with time.
func (r *Reconciler) interest() podcontrol.Interest {
	return podcontrol.Interest{Selections: r.selections, Changed: func(before, after *miniv1.MiniPod) (time.Duration, bool) {
		if podstate.IsActive(before) != podstate.IsActive(after) {
			return 0, true
		}
		return gatherTime, daemonplan.NodeOf(before) != daemonplan.NodeOf(after) || !podcontrol.SameReadiness(before, after)
	}}
}

func (r *Reconciler) selections(ctx context.Context, namespace string) ([]podcontrol.Selection, error) {
	list := &miniv1.MiniDaemonSetList{}
	if err := r.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := make([]podcontrol.Selection, len(list.Items))
	for i := range list.Items {
		out[i] = podcontrol.SelectionOf(&list.Items[i], list.Items[i].Spec.Selector)
	}
	return out, nil
}

// nodeEvents wakes the sets whose answer to a core Node changes.
func (r *Reconciler) nodeEvents() handler.EventHandler {
	change := func(ctx context.Context, q queue, before, after *corev1.Node, name string) {
		mini := &miniv1.MiniNode{}
		if r.client.Get(ctx, client.ObjectKey{Name: name}, mini) != nil && after != nil {
			return // its coming says the rest
		}
		r.wake(ctx, q, look(mini, before), look(mini, after))
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			change(ctx, q, nil, e.Object.(*corev1.Node), e.Object.GetName())
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node); !sameToSets(before, after) {
				change(ctx, q, before, after, after.Name)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			change(ctx, q, e.Object.(*corev1.Node), nil, e.Object.GetName())
		},
	}
}

// miniNodeEvents wakes the sets whose answer to a MiniNode changes.
func (r *Reconciler) miniNodeEvents() handler.EventHandler {
	change := func(ctx context.Context, q queue, before, after *miniv1.MiniNode, name string) {
		core := &corev1.Node{}
		switch found := r.client.Get(ctx, client.ObjectKey{Name: name}, core) == nil; {
		case found:
			r.wake(ctx, q, look(before, core), look(after, core))
		case after == nil: // its core Node may have gone at the same time
			r.wake(ctx, q, anybody, nobody)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			change(ctx, q, nil, e.Object.(*miniv1.MiniNode), e.Object.GetName())
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*miniv1.MiniNode), e.ObjectNew.(*miniv1.MiniNode)
			if isLeaving(before) != isLeaving(after) || (before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil) {
				change(ctx, q, before, after, after.Name)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			change(ctx, q, e.Object.(*miniv1.MiniNode), nil, e.Object.GetName())
		},
	}
}

// opinion is what a set answers to a node.
type opinion func(*miniv1.MiniDaemonSet) daemonset.Answer

// A node that is not there is rejected by every set. One that was there, and of which nothing else is known, may have been anybody's.
func nobody(*miniv1.MiniDaemonSet) daemonset.Answer  { return daemonset.Rejects }
func anybody(*miniv1.MiniDaemonSet) daemonset.Answer { return daemonset.Wants }

// look is what sets answer to the node that these two are; nil is for what is not there.
func look(mini *miniv1.MiniNode, core *corev1.Node) opinion {
	node, ok := nodeOf(mini, core)
	if !ok {
		return nobody
	}
	return func(set *miniv1.MiniDaemonSet) daemonset.Answer { return daemonplan.Answer(set, node) }
}

// wake wakes the sets that answer otherwise than before.
func (r *Reconciler) wake(ctx context.Context, q queue, before, after opinion) {
	list := &miniv1.MiniDaemonSetList{}
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache answers, or the manager is going down
	}
	for i := range list.Items {
		if set := &list.Items[i]; before(set) != after(set) {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(set)})
		}
	}
}

// sameToSets tells whether two versions of a core Node say the same to every set: heartbeats do.
func sameToSets(a, b *corev1.Node) bool {
	return equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints)
}
