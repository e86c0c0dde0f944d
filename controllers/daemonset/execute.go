package daemonset

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/adopt"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/internal/podcontrol"
)

// errAgain ends a pass whose step was overtaken by events; the next pass observes again.
var errAgain = errors.New("observe again")

// claim adopts and releases MiniPods, and adopts revisions.
func (r *Reconciler) claim(ctx context.Context, s *scope) error {
	if _, err := r.pods.Settle(ctx, s.set, s.todo.Claims); err != nil {
		return err
	}
	owner := adopt.Owner{Client: r.client, Live: r.live, Object: s.set, Kind: kind}
	_, err := adopt.Settle(ctx, owner, s.todo.Revisions.Claims)
	return err
}

// record keeps the template as the latest revision, before the first MiniPod of it is made.
func (r *Reconciler) record(ctx context.Context, s *scope) error {
	revisions := &s.todo.Revisions
	if revisions.Renumber != nil {
		after := revisions.Renumber.DeepCopy()
		after.Revision = revisions.Number
		return r.client.Patch(ctx, after, client.MergeFromWithOptions(revisions.Renumber, client.MergeFromWithOptimisticLock{}))
	}
	if revisions.Create == nil {
		return nil
	}
	err := r.client.Create(ctx, revisions.Create.DeepCopy())
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.collide(ctx, s)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case err != nil:
		s.done.Failure = conditions.FailureOf(miniv1.ReasonFailedCreate, err)
	}
	return err
}

// collide looks at the revision that has the name of the one to create. It may be ours, and the cache is late, or somebody took its labels away; or it
// is another's, and the next name is taken.
func (r *Reconciler) collide(ctx context.Context, s *scope) error {
	found := &appsv1.ControllerRevision{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(s.todo.Revisions.Create), found); err != nil {
		return errors.Join(errAgain, client.IgnoreNotFound(err))
	}
	owner := metav1.GetControllerOfNoCopy(found)
	if daemonplan.SameTemplate(found, &s.set.Spec.Template) && (owner == nil || owner.UID == s.set.UID) {
		if found.DeletionTimestamp != nil { // somebody's finalizer may hold it for long
			err := fmt.Errorf("revision %s of this template is being deleted; another is made when its finalizers %q are off", found.Name, found.Finalizers)
			s.done.Failure = conditions.FailureOf(miniv1.ReasonFailedCreate, err)
			return err
		}
		return nil
	}
	collisions := int32(1)
	if count := s.set.Status.CollisionCount; count != nil {
		collisions = *count + 1
	}
	s.done.Collisions = &collisions
	return errAgain
}

// delete removes the MiniPods that have to go.
func (r *Reconciler) delete(ctx context.Context, s *scope) error {
	victims := s.todo.Delete[:min(len(s.todo.Delete), podcontrol.Burst)]
	pods := make([]*miniv1.MiniPod, len(victims))
	of := make(map[*miniv1.MiniPod]daemonplan.Deletion, len(victims))
	for i, v := range victims {
		pods[i], of[v.Pod] = v.Pod, v
	}
	err := r.pods.Delete(ctx, s.set, pods, func(pod *miniv1.MiniPod) {
		s.done.Deleted.Insert(pod.UID)
		if v := of[pod]; v.Ended {
			s.ended = append(s.ended, pod)
			if pod.Status.Phase == miniv1.PodFailed {
				r.failures.Note(client.ObjectKeyFromObject(s.set), v.Node, s.now)
			}
		}
	})
	if err != nil {
		s.done.Failure = conditions.FailureOf(miniv1.ReasonFailedDelete, err)
	}
	return err
}

// create makes the MiniPods that are missing.
func (r *Reconciler) create(ctx context.Context, s *scope) error {
	names := podcontrol.NamesBeside(s.seen.Pods)
	nodes := s.todo.Create[:min(len(s.todo.Create), podcontrol.Burst)]
	i := 0
	err := r.pods.Create(ctx, s.set, len(nodes), func() *miniv1.MiniPod {
		pod := r.pods.MiniPod(s.set, names.Next(s.set.Name), &s.set.Spec.Template)
		daemonplan.Aim(pod, nodes[i], s.todo.Revisions.Hash)
		i++
		return pod
	}, func(pod *miniv1.MiniPod) { s.done.Created = append(s.done.Created, pod) })
	if err != nil {
		s.done.Failure = conditions.FailureOf(miniv1.ReasonFailedCreate, err)
	}
	return err
}

// trim deletes revisions beyond the history limit.
func (r *Reconciler) trim(ctx context.Context, s *scope) error {
	for _, revision := range s.todo.Revisions.Trim {
		uid, version := revision.UID, revision.ResourceVersion
		err := r.client.Delete(ctx, revision, client.Preconditions{UID: &uid, ResourceVersion: &version})
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}
