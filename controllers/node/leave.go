package node

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/nodelife"
)

// daemonSetOf is the DaemonSet that keeps a node's agent; ok is false where none does. Others than miniplane's own namespace has
// are nobody's: the cache does not hold them.
func daemonSetOf(node *miniv1.MiniNode) (key client.ObjectKey, ok bool) {
	if node == nil {
		return key, false
	}
	namespace, name, found := strings.Cut(node.Status.DaemonSet, "/")
	return client.ObjectKey{Namespace: namespace, Name: name}, found && namespace == miniv1.SystemNamespace
}

// unwanted is why a node's DaemonSet no longer wants it; "" where it does, and where that cannot be known. A DaemonSet that is
// deleted is no answer: then miniplane is uninstalled, and the agents leave by themselves.
func unwanted(ctx context.Context, from client.Reader, mini *miniv1.MiniNode, node *corev1.Node, exists bool) (string, error) {
	key, ok := daemonSetOf(mini)
	if !ok || !exists || mini.DeletionTimestamp != nil {
		return "", nil
	}
	var sets appsv1.DaemonSetList
	if err := from.List(ctx, &sets, client.InNamespace(key.Namespace)); err != nil {
		return "", err
	}
	if answer, why, found := daemonset.AskAll(sets.Items, key.Name, node); found && answer == daemonset.Rejects {
		return why, nil
	}
	return "", nil
}

// onDaemonSet queues the nodes of DaemonSets when one says something else about nodes.
func (r *reconciler) onDaemonSet() handler.EventHandler {
	look := func(ctx context.Context, q queue) {
		var nodes miniv1.MiniNodeList
		if err := r.client.List(ctx, &nodes); err != nil {
			log.FromContext(ctx).Error(err, "Listing from the cache")
			return
		}
		for i := range nodes.Items {
			if _, ok := daemonSetOf(&nodes.Items[i]); ok { // of this one, or of one that another takes over from
				add(q, nodes.Items[i].Name)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { look(ctx, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, now := e.ObjectOld.(*appsv1.DaemonSet), e.ObjectNew.(*appsv1.DaemonSet)
			if before.Generation != now.Generation || before.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero() {
				look(ctx, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { look(ctx, q) },
	}
}

// sameToDaemonSets tells whether two versions of a core Node say the same to a DaemonSet.
func sameToDaemonSets(a, b *corev1.Node) bool {
	return equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints)
}

// setLeaving writes, or takes back, that a node leaves, and tells people.
func (r *reconciler) setLeaving(ctx context.Context, node *miniv1.MiniNode, plan nodelife.Plan) error {
	kind, reason, message := corev1.EventTypeNormal, "Stays", "the DaemonSet of its agent wants the node again"
	err := r.patchStatus(ctx, node, func() {
		if plan.Stay {
			conditions.Remove(&node.Status.Conditions, miniv1.ConditionLeaving)
			return
		}
		leaving := *plan.Leaving
		leaving.ObservedGeneration = node.Generation
		conditions.Set(&node.Status.Conditions, leaving)
		kind, reason, message = corev1.EventTypeWarning, leaving.Reason, leaving.Message
	})
	if err != nil {
		return err
	}
	r.recorder.Eventf(node, nil, kind, reason, "Leave", "%s", conditions.Note(message))
	return nil
}
