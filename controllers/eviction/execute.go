package eviction

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/eviction"
)

// atATime is how many MiniPods of a node are evicted at a time.
const atATime = 16

// execute does what the plan says, as much of it as possible.
func (r *reconciler) execute(ctx context.Context, seen eviction.Observed, plan eviction.Plan) error {
	failed := make([]error, len(plan.Evict)+len(plan.Unmark))
	var group errgroup.Group
	group.SetLimit(atATime)
	for i, e := range plan.Evict {
		group.Go(func() error { failed[i] = r.evict(ctx, e); return nil })
	}
	for i, pod := range plan.Unmark {
		group.Go(func() error {
			failed[len(plan.Evict)+i] = r.patchStatus(ctx, pod, func() { eviction.Unmark(pod) })
			return nil
		})
	}
	_ = group.Wait() // the errors are in failed
	if n := len(plan.Evict); n > 0 {
		log.FromContext(ctx).Info("evicted MiniPods", "node", seen.Name, "count", n, "first", plan.Evict[0].Message)
	}
	return errors.Join(append(failed, r.marker(ctx, seen, plan.Marker))...)
}

// evict says in the status why, and deletes.
func (r *reconciler) evict(ctx context.Context, e eviction.Eviction) error {
	if err := r.patchStatus(ctx, e.Pod, func() { eviction.Mark(e) }); err != nil {
		return err
	}
	return client.IgnoreNotFound(r.client.Delete(ctx, e.Pod, client.Preconditions{UID: &e.Pod.UID}))
}

// patchStatus changes the conditions of a MiniPod whose agent writes them too. If it wrote meanwhile, the patch fails with a
// conflict, and everything is looked at again.
func (r *reconciler) patchStatus(ctx context.Context, pod *miniv1.MiniPod, change func()) error {
	before := pod.DeepCopy()
	change()
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.client.Status().Patch(ctx, pod, patch))
}

// marker takes the next step for a drain marker.
func (r *reconciler) marker(ctx context.Context, seen eviction.Observed, step eviction.MarkerStep) error {
	var err error
	switch step {
	case eviction.MarkerKeep:
	case eviction.MarkerCreate:
		err = r.create(ctx, seen)
	case eviction.MarkerComplete:
		err = r.complete(ctx, seen.Marker, seen.Name)
	case eviction.MarkerRelease:
		err = r.release(ctx, seen.Marker)
		if seen.Draining() && err == nil {
			log.FromContext(ctx).Info("the drain is over: no MiniPod is left", "node", seen.Name)
		}
	case eviction.MarkerDelete:
		if err = r.release(ctx, seen.Marker); err == nil {
			err = client.IgnoreNotFound(r.client.Delete(ctx, seen.Marker, client.Preconditions{UID: &seen.Marker.UID}, client.GracePeriodSeconds(0)))
		}
	}
	if err != nil {
		return fmt.Errorf("drain marker of node %s: %w", seen.Name, err)
	}
	return nil
}

// create makes a marker and completes it. One that the cache does not show yet is left to the event that brings it.
func (r *reconciler) create(ctx context.Context, seen eviction.Observed) error {
	marker := eviction.Marker(seen.MiniNode)
	err := r.client.Create(ctx, marker)
	if apierrors.IsAlreadyExists(err) {
		var there corev1.Pod
		if r.reader.Get(ctx, client.ObjectKeyFromObject(marker), &there) == nil && eviction.MarkedNode(&there) == seen.Name {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return r.complete(ctx, marker, seen.Name)
}

// complete ends a marker, and then binds it.
func (r *reconciler) complete(ctx context.Context, marker *corev1.Pod, node string) error {
	before := marker.DeepCopy()
	eviction.Complete(marker)
	if err := r.client.Status().Patch(ctx, marker, client.StrategicMergeFrom(before)); err != nil || marker.Spec.NodeName != "" {
		return err
	}
	return r.client.SubResource("binding").Create(ctx, marker, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}})
}

func (r *reconciler) release(ctx context.Context, marker *corev1.Pod) error {
	before := marker.DeepCopy()
	controllerutil.RemoveFinalizer(marker, miniv1.DrainFinalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.client.Patch(ctx, marker, patch))
}

// tellBlocking says, once, which MiniPods a drain waits for without deleting them.
func (r *reconciler) tellBlocking(seen eviction.Observed, blocking []*miniv1.MiniPod) {
	text := blockingText(seen.Name, blocking)
	if !r.isNews(seen.Name, text) || text == "" {
		return
	}
	r.recorder.Eventf(seen.Marker, nil, corev1.EventTypeWarning, "DrainBlocked", "Drain", "%s", conditions.Note(text))
	r.recorder.Eventf(seen.Node, nil, corev1.EventTypeWarning, "DrainBlocked", "Drain", "%s", conditions.Note(text))
	for _, pod := range blocking {
		r.recorder.Eventf(pod, seen.Node, corev1.EventTypeWarning, "DrainBlocked", "Drain",
			"the drain of node %s waits for this MiniPod: it has no controller that would make another; delete it, or end the drain with kubectl uncordon %s",
			seen.Name, seen.Name)
	}
}

func (r *reconciler) isNews(node, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.nodes[node]
	if !ok || known.told == text {
		return false
	}
	known.told = text
	return true
}

// shown is how many names an Event lists.
const shown = 5

func blockingText(node string, blocking []*miniv1.MiniPod) string {
	if len(blocking) == 0 {
		return ""
	}
	var names []string
	for _, pod := range blocking[:min(shown, len(blocking))] {
		names = append(names, pod.Namespace+"/"+pod.Name)
	}
	if more := len(blocking) - shown; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("waits for MiniPods without a controller that would make others: %s; delete them (kubectl delete minipod), "+
		"or end the drain (kubectl uncordon %s)", strings.Join(names, ", "), node)
}
