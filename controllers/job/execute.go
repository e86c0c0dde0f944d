package job

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/statuspatch"
)

// write stores a status, for the version that it was made from.
func (r *Reconciler) write(ctx context.Context, s *scope, status miniv1.MiniJobStatus) error {
	after := s.job.DeepCopy()
	after.Status = status
	wrote, err := statuspatch.PatchSeen(ctx, r.client, s.job, after)
	if err != nil || !wrote {
		return err
	}
	s.memory.replaced.Insert(s.job.ResourceVersion)
	s.stored, s.job = true, after
	return nil
}

// store writes down what must be known before anything is done.
func (r *Reconciler) store(ctx context.Context, s *scope) error {
	if s.todo.First {
		if err := r.write(ctx, s, s.todo.Status); err != nil {
			return err
		}
		s.memory.backoff = &s.todo.Backoff
	}
	s.planned = true
	return nil
}

// end deletes what still runs of a MiniJob that is complete or has failed. It counts, or not, as was written down.
func (r *Reconciler) end(ctx context.Context, s *scope) error { return r.delete(ctx, s, s.todo.End) }

func (r *Reconciler) delete(ctx context.Context, s *scope, pods []*miniv1.MiniPod) error {
	err := r.pods.Delete(ctx, s.job, pods, func(pod *miniv1.MiniPod) { s.done.Deleted.Insert(pod.UID) })
	if err != nil {
		s.done.Failure = conditions.FailureOf(miniv1.ReasonFailedDelete, err)
	}
	return err
}

// release takes the finalizer off what is written down.
func (r *Reconciler) release(ctx context.Context, s *scope) error {
	return podcontrol.InParallel(s.todo.Release, func(pod *miniv1.MiniPod) error { return r.untrack(ctx, pod) }, s.released)
}

func (s *scope) released(pod *miniv1.MiniPod) {
	s.done.Released.Insert(pod.UID)
	s.memory.released.Insert(pod.UID)
}

// untrack takes the finalizer off a MiniPod, whatever else became of it.
func (r *Reconciler) untrack(ctx context.Context, pod *miniv1.MiniPod) error {
	err := r.client.Patch(ctx, shell(pod), untracked(pod, false))
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	now := &miniv1.MiniPod{}
	if again := r.live.Get(ctx, client.ObjectKeyFromObject(pod), now); apierrors.IsNotFound(again) {
		return nil
	} else if again != nil {
		return err
	}
	switch {
	case now.UID != pod.UID, !slices.Contains(now.Finalizers, miniv1.JobFinalizer):
		return nil
	case slices.Equal(now.Finalizers, pod.Finalizers):
		return err
	}
	return client.IgnoreNotFound(r.client.Patch(ctx, shell(now), untracked(now, false)))
}

// untracked is a patch that takes the finalizer from its place, if it is there, and if the MiniPod is as it was seen.
func untracked(pod *miniv1.MiniPod, asSeen bool) client.Patch {
	at := slices.Index(pod.Finalizers, miniv1.JobFinalizer)
	condition := ""
	if asSeen {
		condition = fmt.Sprintf(`{"op":"test","path":"/metadata/resourceVersion","value":%q},`, pod.ResourceVersion)
	}
	return client.RawPatch(types.JSONPatchType, fmt.Appendf(nil,
		`[%s{"op":"test","path":"/metadata/uid","value":%q},{"op":"test","path":"/metadata/finalizers/%d","value":%q},{"op":"remove","path":"/metadata/finalizers/%d"}]`,
		condition, pod.UID, at, miniv1.JobFinalizer, at))
}

// shell names a MiniPod, for a patch whose answer nobody needs.
func shell(pod *miniv1.MiniPod) *miniv1.MiniPod {
	return &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
}

// drop ends MiniPods that are too many, so that they do not count: each loses its finalizer first, unless it has changed since it was
// seen. A manager that dies in between leaves one that waits or runs without the finalizer, which the next one ends.
func (r *Reconciler) drop(ctx context.Context, s *scope) error {
	var free []*miniv1.MiniPod
	err := podcontrol.InParallel(s.todo.Drop, func(pod *miniv1.MiniPod) error {
		if !slices.Contains(pod.Finalizers, miniv1.JobFinalizer) || s.memory.released.Has(pod.UID) {
			return nil
		}
		err := r.client.Patch(ctx, shell(pod), untracked(pod, true))
		if apierrors.IsInvalid(err) {
			return apierrors.NewConflict(schema.GroupResource{Resource: "minipods"}, pod.Name, err)
		}
		return client.IgnoreNotFound(err)
	}, func(pod *miniv1.MiniPod) {
		s.released(pod)
		free = append(free, pod)
	})
	if again := r.delete(ctx, s, free); again != nil {
		return again
	}
	return err
}

// create makes the missing MiniPods.
func (r *Reconciler) create(ctx context.Context, s *scope) error {
	names, left := podcontrol.NamesBeside(s.there.Owned), s.todo.Create
	err := r.pods.Create(ctx, s.job, len(left), func() *miniv1.MiniPod {
		next := left[0]
		left = left[1:]
		return r.newPod(s.job, names, next)
	}, func(*miniv1.MiniPod) { s.done.Created++ })
	if err != nil {
		s.done.Failure = conditions.FailureOf(miniv1.ReasonFailedCreate, err)
	}
	return err
}

// trim deletes MiniPods that have ended and are more than are kept.
func (r *Reconciler) trim(ctx context.Context, s *scope) error { return r.delete(ctx, s, s.todo.Trim) }

// expire deletes a MiniJob whose time after the end is over, if it still is as it was seen. Its MiniPods go before it.
func (r *Reconciler) expire(ctx context.Context, s *scope) error {
	if !s.todo.Expired {
		return nil
	}
	uid, version := s.job.UID, s.job.ResourceVersion
	return client.IgnoreNotFound(r.client.Delete(ctx, s.job.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &uid, ResourceVersion: &version}))
}
