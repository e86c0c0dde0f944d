package node

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/nodelife"
)

// execute does what the plan says, as much of it as possible. The MiniNode goes last, and only after everything else went
// well.
func (r *reconciler) execute(ctx context.Context, seen nodelife.Observed, plan nodelife.Plan) error {
	var failed []error
	if plan.Ready != nil && seen.MiniNode != nil {
		failed = append(failed, r.setReady(ctx, seen.MiniNode, plan))
	}
	if plan.Leaving != nil || plan.Stay {
		failed = append(failed, r.setLeaving(ctx, seen.MiniNode, plan))
	}
	markLost := func(pod *miniv1.MiniPod) { nodelife.MarkLost(pod, seen.Life, r.policy) }
	for _, group := range []struct {
		pods   []*miniv1.MiniPod
		change func(*miniv1.MiniPod)
	}{{plan.MarkLost, markLost}, {plan.Unmark, nodelife.Unmark}, {plan.Discharge, nodelife.Discharge}, {plan.Recharge, nodelife.Recharge}} {
		for _, pod := range group.pods {
			failed = append(failed, r.patchStatus(ctx, pod, func() { group.change(pod) }))
		}
	}
	for _, pod := range plan.Release {
		failed = append(failed, r.release(ctx, pod))
	}
	failed = append(failed, r.empty(ctx, &seen, plan))
	r.tellReleased(&seen, len(plan.Release))
	if err := errors.Join(failed...); err != nil || !plan.DeleteMiniNode {
		return err
	}
	log.FromContext(ctx).Info("miniplane is gone from the node, or the node is gone: deleting the MiniNode", "node", seen.Name, "exists", seen.NodeExists)
	err := client.IgnoreNotFound(r.client.Delete(ctx, seen.MiniNode,
		client.Preconditions{UID: &seen.MiniNode.UID, ResourceVersion: &seen.MiniNode.ResourceVersion}))
	if err == nil && seen.NodeExists {
		r.ranges.release(seen.Name)
	}
	return err
}

// empty deletes what is not to stay on a node, each marked as what it is.
func (r *reconciler) empty(ctx context.Context, seen *nodelife.Observed, plan nodelife.Plan) error {
	markLost := func(pod *miniv1.MiniPod) { nodelife.MarkLost(pod, seen.Life, r.policy) }
	var failed []error
	deleted := 0
	for _, group := range []struct {
		pods []*miniv1.MiniPod
		mark func(*miniv1.MiniPod)
	}{{plan.Evict, markLost}, {plan.Move, nodelife.MarkMoved}, {plan.Delete, func(*miniv1.MiniPod) {}}} {
		for _, pod := range group.pods {
			err := r.patchStatus(ctx, pod, func() { group.mark(pod) })
			if err == nil {
				err = r.remove(ctx, seen, pod)
			}
			if err == nil {
				deleted++
			}
			failed = append(failed, err)
		}
	}
	if deleted > 0 {
		log.FromContext(ctx).Info("deleted MiniPods of a node", "node", seen.Name, "why", whyEmptied(seen), "count", deleted)
	}
	return errors.Join(failed...)
}

// remove deletes a MiniPod, so that it is replaced. One that the cache still has as it was before, because it lags, is a conflict: it would
// be deleted, and counted, once more.
func (r *reconciler) remove(ctx context.Context, seen *nodelife.Observed, pod *miniv1.MiniPod) error {
	err := r.client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion})
	if err == nil {
		evictions.WithLabelValues(whyEmptied(seen)).Inc()
	}
	return client.IgnoreNotFound(err)
}

// tellReleased says that MiniPods were let go of on an administrator's word.
func (r *reconciler) tellReleased(seen *nodelife.Observed, n int) {
	if n > 0 && seen.NodeExists && seen.MiniNode != nil {
		r.recorder.Eventf(seen.MiniNode, nil, corev1.EventTypeWarning, "OutOfService", "Release",
			"%s", conditions.Note(fmt.Sprintf("the node is silent and has the taint %s: let go of %d MiniPods", seen.OutOfService.ToString(), n)))
	}
}

// setReady writes the MiniNode's condition, and tells people.
func (r *reconciler) setReady(ctx context.Context, node *miniv1.MiniNode, plan nodelife.Plan) error {
	err := r.patchStatus(ctx, node, func() {
		ready := *plan.Ready
		ready.ObservedGeneration = node.Generation
		conditions.Set(&node.Status.Conditions, ready)
	})
	if err != nil {
		return err
	}
	r.recorder.Eventf(node, nil, corev1.EventTypeWarning, plan.Ready.Reason, "Heartbeat", "%s", conditions.Note(plan.Ready.Message))
	return nil
}

// patchStatus changes the status of an object whose usual writer is the agent. If the agent wrote meanwhile, it is not lost,
// and its word counts: the patch fails with a conflict, and everything is looked at again.
func (r *reconciler) patchStatus(ctx context.Context, object client.Object, change func()) error {
	before := object.DeepCopyObject().(client.Object)
	change()
	if equality.Semantic.DeepEqual(before, object) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err := r.client.Status().Patch(ctx, object, patch)
	if err == nil {
		writes.WithLabelValues(kindOf(object)).Inc()
	}
	return client.IgnoreNotFound(err)
}

// release removes the agent's finalizer.
func (r *reconciler) release(ctx context.Context, pod *miniv1.MiniPod) error {
	before := pod.DeepCopy()
	controllerutil.RemoveFinalizer(pod, miniv1.AgentFinalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.client.Patch(ctx, pod, patch))
}
