package job

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/claim"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/jobplan"
	"miniplane.dev/miniplane/internal/podcontrol"
)

// scope is what one pass knows.
type scope struct {
	// job is a copy of the MiniJob, with the status and the version that were written last; before is as the pass found it.
	job, before *miniv1.MiniJob
	now         time.Time
	memory      *memory

	// selector finds its MiniPods, there are what there is: set by gather.
	selector labels.Selector
	there    podcontrol.Observed

	// mine are the MiniPods that belong to it, set by claim.
	mine []*miniv1.MiniPod

	// seen and todo are set by plan; stored tells whether something was written down first, and planned that it could be.
	seen            jobplan.Observed
	todo            jobplan.Plan
	stored, planned bool
	// done is what of it was done.
	done jobplan.Done
}

// gather observes the MiniPods, and stops the pass while the cache lags behind what earlier passes did.
func (r *Reconciler) gather(ctx context.Context, s *scope) (err error) {
	if s.memory.outdated(s.job) {
		return errOutdated
	}
	if s.selector, err = jobplan.Selector(s.job); err != nil {
		s.done.Failure = conditions.Failure{Reason: miniv1.ReasonSelectorMismatch, Message: err.Error(), Final: true}
	}
	if s.there, err = r.pods.Observe(ctx, s.job, s.selector); err == nil {
		s.memory.forgetSeen(s.there.Owned)
	}
	return err
}

// compare looks, once, whether the cache is as new as what another process may have done before: a standby that takes over has a cache
// that may be behind. What cannot be seen yet stops the pass; what lost its finalizer is remembered.
func (r *Reconciler) compare(ctx context.Context, s *scope) error {
	if s.memory.compared || jobplan.IsFinished(s.job) {
		return nil
	}
	job := &miniv1.MiniJob{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(s.job), job); client.IgnoreNotFound(err) != nil {
		return err
	} else if err != nil || job.UID != s.job.UID || job.ResourceVersion != s.job.ResourceVersion {
		return errOutdated
	}
	held, err := r.heldLive(ctx, s)
	if err != nil {
		return err
	}
	for _, pod := range s.there.Owned {
		if !slices.Contains(pod.Finalizers, miniv1.JobFinalizer) || held.Has(pod.UID) {
			continue
		}
		gone, err := r.lostFinalizer(ctx, pod)
		if err != nil {
			return err
		}
		if gone {
			s.memory.released.Insert(pod.UID)
		}
	}
	s.memory.compared = true
	return nil
}

// heldLive are the MiniPods that hold the finalizer as the API server has them; errOutdated when the cache does not have all that there are.
func (r *Reconciler) heldLive(ctx context.Context, s *scope) (sets.Set[types.UID], error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(miniv1.GroupVersion.WithKind("MiniPodList"))
	// Anybody can make MiniPods with a reference to a MiniJob, and without its labels, and as many as he likes: to ask for each would hold up all MiniJobs.
	selector := s.selector
	if slices.ContainsFunc(s.there.Owned, func(pod *miniv1.MiniPod) bool { return !selector.Matches(labels.Set(pod.Labels)) }) {
		selector = labels.Everything()
	}
	if err := r.live.List(ctx, list, client.InNamespace(s.job.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, err
	}
	cached, held := sets.New[types.UID](), sets.New[types.UID]()
	for _, pod := range s.there.Owned {
		cached.Insert(pod.UID)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		if !metav1.IsControlledBy(pod, s.job) {
			continue
		}
		if !cached.Has(pod.UID) {
			return nil, errOutdated
		}
		if slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
			held.Insert(pod.UID)
		}
	}
	return held, nil
}

// lostFinalizer asks the API server whether a MiniPod is gone or has the finalizer no more.
func (r *Reconciler) lostFinalizer(ctx context.Context, pod *miniv1.MiniPod) (bool, error) {
	now := &miniv1.MiniPod{}
	err := r.live.Get(ctx, client.ObjectKeyFromObject(pod), now)
	if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
		return true, nil
	}
	return err == nil && !slices.Contains(now.Finalizers, miniv1.JobFinalizer), err
}

// claim adopts and releases MiniPods. One that has to be given up is given up without having counted.
func (r *Reconciler) claim(ctx context.Context, s *scope) (err error) {
	if jobplan.IsFinished(s.job) || s.done.Failure.Final {
		s.mine = s.there.Owned
		return nil
	}
	s.mine, err = r.pods.Settle(ctx, s.job, claim.Sort(s.job, s.selector, s.there.All()))
	return err
}

// plan decides what to do.
func (r *Reconciler) plan(_ context.Context, s *scope) error {
	s.seen = jobplan.Observed{Job: s.job.DeepCopy(), Pods: s.mine, Released: s.memory.released.Clone(), Backoff: s.memory.backoff, Now: s.now}
	s.todo = jobplan.Make(s.seen)
	s.done.Released, s.done.Deleted = sets.New[types.UID](), sets.New[types.UID]()
	if s.done.Failure.Final {
		s.todo.Create = nil
	}
	return nil
}
