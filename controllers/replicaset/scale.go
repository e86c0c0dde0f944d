package replicaset

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podcontrol"
)

// claim adopts and releases MiniPods.
func (r *Reconciler) claim(ctx context.Context, s *scope) error {
	_, err := r.pods.Settle(ctx, s.set, s.todo.Claims)
	return err
}

// create makes the missing MiniPods.
func (r *Reconciler) create(ctx context.Context, s *scope) error {
	names := podcontrol.NamesBeside(s.pods.Owned)
	err := r.pods.Create(ctx, s.set, min(s.todo.Create, podcontrol.Burst), func() *miniv1.MiniPod {
		return r.pods.MiniPod(s.set, names.Next(s.set.Name), &s.set.Spec.Template)
	}, func(pod *miniv1.MiniPod) { s.active = append(s.active, pod) })
	if err != nil {
		s.failure = conditions.FailureOf(miniv1.ReasonFailedCreate, err)
	}
	return err
}

// delete removes the MiniPods that are too many.
func (r *Reconciler) delete(ctx context.Context, s *scope) error {
	victims := s.todo.Delete[:min(len(s.todo.Delete), podcontrol.Burst)]
	gone := sets.New[types.UID]()
	err := r.pods.Delete(ctx, s.set, victims, func(pod *miniv1.MiniPod) { gone.Insert(pod.UID) })
	var left []*miniv1.MiniPod
	for _, pod := range s.active {
		if !gone.Has(pod.UID) {
			left = append(left, pod)
		}
	}
	s.active = left
	if err != nil {
		s.failure = conditions.FailureOf(miniv1.ReasonFailedDelete, err)
	}
	return err
}
