package replicaset

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/replicas"
)

// scope is what one pass knows.
type scope struct {
	// set is a copy of the MiniReplicaSet; only its status is changed.
	set *miniv1.MiniReplicaSet
	key types.NamespacedName
	now time.Time

	// spec is what is wanted, owned carry the set's reference, orphans match its selector and carry nobody's: set by gather. They are the cache's
	// own objects and must not be changed.
	spec           replicas.Spec
	owned, orphans []*miniv1.MiniPod

	// todo is set by plan, which also sets planned.
	todo    replicas.Plan
	planned bool

	// active are the replicas: as planned, and from then on as created and deleted.
	active []*miniv1.MiniPod
	// failure is what create and delete could not do.
	failure replicas.Failure
}

// gather observes the MiniPods, and stops the pass while the cache lags behind what earlier passes did.
func (r *Reconciler) gather(ctx context.Context, s *scope) (err error) {
	s.spec = replicas.FromSet(s.set)
	if s.owned, err = r.ownedBy(ctx, s.set.Namespace, s.set.UID); err != nil {
		return err
	}
	matching := &miniv1.MiniPodList{}
	if err := r.client.List(ctx, matching, client.InNamespace(s.set.Namespace),
		client.MatchingLabelsSelector{Selector: s.spec.Selector}, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range matching.Items {
		if metav1.GetControllerOfNoCopy(&matching.Items[i]) == nil {
			s.orphans = append(s.orphans, &matching.Items[i])
		}
	}
	return r.seen(ctx, s)
}

// plan decides what to do.
func (r *Reconciler) plan(ctx context.Context, s *scope) (err error) {
	var related []*miniv1.MiniPod
	if len(s.owned)+len(s.orphans) > s.spec.Replicas {
		if related, err = r.siblings(ctx, s.set); err != nil {
			return err
		}
	}
	s.todo = replicas.Make(s.spec, s.observed(), related)
	s.active, s.planned = s.todo.Active, true
	return nil
}

// siblings are the active MiniPods of all sets of the same MiniDeployment; none for a set of its own.
func (r *Reconciler) siblings(ctx context.Context, set *miniv1.MiniReplicaSet) ([]*miniv1.MiniPod, error) {
	owner := metav1.GetControllerOfNoCopy(set)
	if owner == nil {
		return nil, nil
	}
	sets := &miniv1.MiniReplicaSetList{}
	if err := r.client.List(ctx, sets, client.InNamespace(set.Namespace), client.MatchingFields{index.Owner: string(owner.UID)},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []*miniv1.MiniPod
	for i := range sets.Items {
		pods, err := r.ownedBy(ctx, set.Namespace, sets.Items[i].UID)
		if err != nil {
			return nil, err
		}
		out = append(out, pods...)
	}
	return out, nil
}

func (r *Reconciler) ownedBy(ctx context.Context, namespace string, owner types.UID) ([]*miniv1.MiniPod, error) {
	list := &miniv1.MiniPodList{}
	if err := r.client.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{index.Owner: string(owner)},
		client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	pods := make([]*miniv1.MiniPod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}

// updateStatus makes the new status from what is there after the pass, and says when it will be outdated.
func (s *scope) updateStatus() time.Duration {
	counts, wake := replicas.Count(s.spec, s.active, s.now)
	s.set.Status = replicas.Status(s.set, s.spec, counts, s.failure, s.now)
	return wake
}

// observed are all MiniPods that gather found.
func (s *scope) observed() []*miniv1.MiniPod { return slices.Concat(s.owned, s.orphans) }
