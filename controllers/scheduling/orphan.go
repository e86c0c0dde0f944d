package scheduling

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// orphanWorkers is how many finalizers are taken off at once.
const orphanWorkers = 8

// startOrphanWorkers takes the agent's finalizer off MiniPods that are deleted before they were bound: there is no agent
// that could.
func (s *Scheduler) startOrphanWorkers(ctx context.Context) {
	for range orphanWorkers {
		s.writers.going.Go(func() {
			for s.nextOrphan(ctx) {
			}
		})
	}
	s.writers.going.Go(func() {
		<-ctx.Done()
		s.orphans.ShutDown()
	})
}

func (s *Scheduler) nextOrphan(ctx context.Context) bool {
	key, shutdown := s.orphans.Get()
	if shutdown {
		return false
	}
	defer s.orphans.Done(key)
	if err := s.letGo(ctx, key); err != nil {
		ctrl.LoggerFrom(ctx).V(1).Info("taking the finalizer off again", "minipod", key, "error", err.Error())
		s.orphans.AddRateLimited(key)
		return true
	}
	s.orphans.Forget(key)
	return true
}

// letGo takes the finalizer off, if the MiniPod still has no node. The patch fails if it was bound since it was read.
func (s *Scheduler) letGo(ctx context.Context, key client.ObjectKey) error {
	pod := &miniv1.MiniPod{}
	if err := s.client.Get(ctx, key, pod); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !podstate.IsDeleting(pod) || podstate.IsBound(pod) || s.holds(pod.UID) {
		return nil
	}
	before := pod.DeepCopy()
	if !controllerutil.RemoveFinalizer(pod, miniv1.AgentFinalizer) {
		return nil
	}
	err := s.client.Patch(ctx, pod, ifUnchanged(before))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
