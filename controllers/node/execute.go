package node

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
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
	for _, pod := range plan.MarkLost {
		failed = append(failed, r.patchStatus(ctx, pod, func() { nodelife.MarkLost(pod, seen.Health, r.wait) }))
	}
	for _, pod := range plan.Unmark {
		failed = append(failed, r.patchStatus(ctx, pod, func() { nodelife.Unmark(pod) }))
	}
	for _, pod := range plan.Release {
		failed = append(failed, r.release(ctx, pod))
	}
	for _, pod := range plan.Delete {
		err := r.client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
		failed = append(failed, client.IgnoreNotFound(err))
	}
	if n := len(plan.Delete); n > 0 {
		log.FromContext(ctx).Info("deleted MiniPods of a lost node", "node", seen.Name, "count", n)
	}
	if err := errors.Join(failed...); err != nil || !plan.DeleteMiniNode {
		return err
	}
	log.FromContext(ctx).Info("the core Node is gone and the agent is lost: deleting the MiniNode", "node", seen.Name)
	return client.IgnoreNotFound(r.client.Delete(ctx, seen.MiniNode, client.Preconditions{UID: &seen.MiniNode.UID}))
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
	kind := corev1.EventTypeNormal
	if plan.Ready.Reason != miniv1.ReasonAgentReady {
		kind = corev1.EventTypeWarning
	}
	r.recorder.Eventf(node, nil, kind, plan.Ready.Reason, "Heartbeat", "%s", plan.Ready.Message)
	return nil
}

// patchStatus changes the status of an object whose usual writer is the agent. If the agent wrote meanwhile, it is not lost,
// and its word counts: the patch fails with a conflict, and everything is looked at again.
func (r *reconciler) patchStatus(ctx context.Context, object client.Object, change func()) error {
	before := object.DeepCopyObject().(client.Object)
	change()
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.client.Status().Patch(ctx, object, patch))
}

// release removes the agent's finalizer.
func (r *reconciler) release(ctx context.Context, pod *miniv1.MiniPod) error {
	before := pod.DeepCopy()
	controllerutil.RemoveFinalizer(pod, miniv1.AgentFinalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.client.Patch(ctx, pod, patch))
}
