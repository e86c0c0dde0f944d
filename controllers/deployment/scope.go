package deployment

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/adopt"
	"miniplane.dev/miniplane/internal/claim"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/rollout"
)

// scope is what one pass knows.
type scope struct {
	// deployment is a copy of the MiniDeployment; only its status is changed.
	deployment *miniv1.MiniDeployment
	now        time.Time

	// selector, and the sets as found in the namespace: set by gather.
	selector labels.Selector
	claims   claim.Claims[*miniv1.MiniReplicaSet]

	// observed is set by claim and countPods, todo by plan, which also sets planned.
	observed rollout.Observed
	todo     rollout.Plan
	planned  bool

	// failure is what could not be done; scalings what was, for the Events.
	failure  conditions.Failure
	scalings []scaling
	// collisions is the new count of names that were taken; nil when it stays.
	collisions *int32
}

// gather observes the sets that belong to the MiniDeployment or could. They are the cache's own objects and must not be
// changed.
func (r *Reconciler) gather(ctx context.Context, s *scope) error {
	var err error
	if s.selector, err = metav1.LabelSelectorAsSelector(s.deployment.Spec.Selector); err != nil {
		s.mismatch(err)
		s.selector = labels.Nothing()
	} else if !s.selector.Matches(labels.Set(s.deployment.Spec.Template.Metadata.Labels)) {
		s.mismatch(nil)
	}
	// Those of nobody come first: one that is adopted in between is seen twice then, and not never.
	var sets []*miniv1.MiniReplicaSet
	for _, owner := range []string{index.Nobody, string(s.deployment.UID)} {
		list := &miniv1.MiniReplicaSetList{}
		if err := r.client.List(ctx, list, client.InNamespace(s.deployment.Namespace), client.MatchingFields{index.Owner: owner},
			client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range list.Items {
			sets = slices.DeleteFunc(sets, func(set *miniv1.MiniReplicaSet) bool { return set.UID == list.Items[i].UID })
			sets = append(sets, &list.Items[i])
		}
	}
	s.claims = claim.Sort(s.deployment, s.selector, sets)
	return nil
}

// claim adopts and releases sets.
func (r *Reconciler) claim(ctx context.Context, s *scope) (err error) {
	s.observed = rollout.Observed{Deployment: s.deployment, Sets: s.claims.Mine}
	if s.failure.Final {
		return nil
	}
	owner := adopt.Owner{Client: r.client, Live: r.live, Object: s.deployment, Kind: kind}
	s.observed.Sets, err = adopt.Settle(ctx, owner, s.claims)
	return err
}

// countPods counts the MiniPods that exist yet, for the strategy that must know.
func (r *Reconciler) countPods(ctx context.Context, s *scope) error {
	if s.deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	s.observed.PodsLeft = map[types.UID]int{}
	for _, set := range s.observed.Sets {
		pods := &miniv1.MiniPodList{}
		if err := r.client.List(ctx, pods, client.InNamespace(set.Namespace), client.MatchingFields{index.Owner: string(set.UID)},
			client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range pods.Items {
			if !podstate.IsFinished(&pods.Items[i]) {
				s.observed.PodsLeft[set.UID]++
			}
		}
	}
	return nil
}

// plan decides the next step.
func (r *Reconciler) plan(ctx context.Context, s *scope) error {
	s.planned = true
	if s.failure.Final {
		return nil
	}
	s.todo = rollout.Make(s.observed)
	if s.todo.Waits != "" {
		log.FromContext(ctx).V(1).Info("rollout waits", "why", s.todo.Waits)
	}
	return nil
}

// updateStatus makes the new status, and says when it will be outdated.
func (s *scope) updateStatus() time.Duration {
	status, wake := rollout.Status(rollout.Result{
		Observed: s.observed, Plan: s.todo, Failure: s.failure, Selector: s.selector.String(), Now: s.now,
	})
	if s.collisions != nil {
		status.CollisionCount = s.collisions
	}
	s.deployment.Status = status
	return wake
}
