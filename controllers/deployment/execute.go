package deployment

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/rollout"
)

// errAgain ends a pass whose step was overtaken by events; the next pass observes again.
var errAgain = errors.New("observe again")

// create makes the new set. One of its name may be there: then it is ours and the cache is late, or it is another's and
// the next name is taken.
func (r *Reconciler) create(ctx context.Context, s *scope) error {
	set := s.todo.Create
	if set == nil {
		return nil
	}
	err := r.client.Create(ctx, set)
	switch {
	case err == nil:
		s.scalings = append(s.scalings, scaling{set, 0, replicasOf(set), s.todo.CreateWhy})
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.collide(ctx, s)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	}
	s.failure = conditions.FailureOf(miniv1.ReasonFailedCreate, err)
	return err
}

// collide looks at the set that has the name of the one to create.
func (r *Reconciler) collide(ctx context.Context, s *scope) error {
	found := &miniv1.MiniReplicaSet{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(s.todo.Create), found); err != nil {
		return errors.Join(errAgain, client.IgnoreNotFound(err))
	}
	same := rollout.SameTemplate(&found.Spec.Template, &s.todo.Create.Spec.Template)
	if !same || !metav1.IsControlledBy(found, s.deployment) {
		collisions := int32(1)
		if count := s.deployment.Status.CollisionCount; count != nil {
			collisions = *count + 1
		}
		s.collisions = &collisions
	}
	s.todo.Create = nil
	return errAgain
}

// change writes the changed sets, in the planned order, each on condition that it is as it was seen.
func (r *Reconciler) change(ctx context.Context, s *scope) error {
	for _, c := range s.todo.Changes {
		patch := client.MergeFromWithOptions(c.Before, client.MergeFromWithOptimisticLock{})
		if err := r.client.Patch(ctx, c.After.DeepCopy(), patch); err != nil {
			if apierrors.IsNotFound(err) {
				return errAgain
			}
			return err
		}
		if c.Scales() {
			s.scalings = append(s.scalings, scaling{c.Before, c.From(), c.To(), c.Why})
		}
	}
	return nil
}

// trim deletes sets beyond the history limit.
func (r *Reconciler) trim(ctx context.Context, s *scope) error {
	for _, set := range s.todo.Delete {
		uid, version := set.UID, set.ResourceVersion
		err := r.client.Delete(ctx, set, client.Preconditions{UID: &uid, ResourceVersion: &version})
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// showRevision writes the number of the new set on the MiniDeployment, when it changed.
func (r *Reconciler) showRevision(ctx context.Context, s *scope) error {
	revision := strconv.FormatInt(s.todo.Revision, 10)
	if s.todo.Revision == 0 || s.deployment.Annotations[miniv1.RevisionAnnotation] == revision {
		return nil
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, miniv1.RevisionAnnotation, revision)
	target := s.deployment.DeepCopy()
	return client.IgnoreNotFound(r.client.Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// mismatch notes that no MiniPod of the template would be found, or, with an error, that the selector makes no sense.
func (s *scope) mismatch(unreadable error) {
	message := fmt.Sprintf("selector %q does not match the labels of the template, so nothing is rolled out. "+
		"Add the missing labels to spec.template.metadata.labels; the selector itself cannot be changed.", s.selector)
	if unreadable != nil {
		message = fmt.Sprintf("selector cannot be read, so nothing is rolled out: %v. It cannot be changed; "+
			"delete this object and create it anew with a correct selector.", unreadable)
	}
	s.failure = conditions.Failure{Reason: miniv1.ReasonSelectorMismatch, Message: message, Final: true}
}

func replicasOf(set *miniv1.MiniReplicaSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}
