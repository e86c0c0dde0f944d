package replicaset

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/replicas"
)

// scope is what one pass knows.
type scope struct {
	// set is a copy of the MiniReplicaSet; only its status is changed.
	set *miniv1.MiniReplicaSet
	now time.Time

	// spec is what is wanted, pods are what there is: set by gather.
	spec replicas.Spec
	pods podcontrol.Observed

	// todo is set by plan, which also sets planned.
	todo    replicas.Plan
	planned bool

	// active are the replicas: as planned, and from then on as created and deleted.
	active []*miniv1.MiniPod
	// failure is what create and delete could not do.
	failure conditions.Failure
}

// gather observes the MiniPods, and stops the pass while the cache lags behind what earlier passes did.
func (r *Reconciler) gather(ctx context.Context, s *scope) (err error) {
	s.spec = replicas.FromSet(s.set)
	s.pods, err = r.pods.Observe(ctx, s.set, s.spec.Selector)
	return err
}

// plan decides what to do.
func (r *Reconciler) plan(ctx context.Context, s *scope) (err error) {
	var related []*miniv1.MiniPod
	observed := s.pods.All()
	if len(observed) > s.spec.Replicas {
		if related, err = r.siblings(ctx, s.set); err != nil {
			return err
		}
	}
	s.todo = replicas.Make(s.spec, observed, related)
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
		pods, err := r.pods.Owned(ctx, set.Namespace, sets.Items[i].UID)
		if err != nil {
			return nil, err
		}
		out = append(out, pods...)
	}
	return out, nil
}

// updateStatus makes the new status from what is there after the pass, and says when it will be outdated.
func (s *scope) updateStatus() time.Duration {
	counts, wake := replicas.Count(s.spec, s.active, s.now)
	s.set.Status = replicas.Status(s.set, s.spec, counts, s.failure, s.now)
	return wake
}
