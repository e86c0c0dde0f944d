package daemonset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
)

// scope is what one pass knows.
type scope struct {
	// set is a copy of the MiniDaemonSet; only its status is changed.
	set *miniv1.MiniDaemonSet
	now time.Time

	// seen is set by gather, todo by plan.
	seen daemonplan.Observed
	todo *daemonplan.Plan

	// done is what was carried out, and ended the MiniPods among it that had ended and are replaced.
	done  daemonplan.Done
	ended []*miniv1.MiniPod
}

// gather observes nodes, revisions and MiniPods, and stops the pass while the cache lags behind what earlier passes did. What it holds are the
// cache's own objects, which must not be changed.
func (r *Reconciler) gather(ctx context.Context, s *scope) (err error) {
	s.seen = daemonplan.Observed{Set: s.set, Retry: r.failures.Retry(client.ObjectKeyFromObject(s.set), s.now), Now: s.now}
	// MiniPods come first: what is made for a node is seen with the node.
	pods, err := r.pods.Observe(ctx, s.set, daemonplan.FromSet(s.set).Selector)
	if err != nil {
		return err
	}
	s.seen.Pods = pods.All()
	if s.seen.Nodes, err = r.nodes(ctx); err != nil {
		return err
	}
	revisions := &appsv1.ControllerRevisionList{}
	if err := r.client.List(ctx, revisions, client.InNamespace(s.set.Namespace), client.MatchingLabels(daemonplan.RevisionLabels()),
		client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range revisions.Items {
		s.seen.Revisions = append(s.seen.Revisions, &revisions.Items[i])
	}
	return nil
}

// nodes are all that have a MiniNode and a core Node.
func (r *Reconciler) nodes(ctx context.Context) ([]daemonplan.Node, error) {
	minis, cores := &miniv1.MiniNodeList{}, &corev1.NodeList{}
	if err := r.client.List(ctx, minis, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	if err := r.client.List(ctx, cores, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	byName := make(map[string]*corev1.Node, len(cores.Items))
	for i := range cores.Items {
		byName[cores.Items[i].Name] = &cores.Items[i]
	}
	var out []daemonplan.Node
	for i := range minis.Items {
		if node, ok := nodeOf(&minis.Items[i], byName[minis.Items[i].Name]); ok {
			out = append(out, node)
		}
	}
	return out, nil
}

// nodeOf puts together what the MiniNode and the core Node of one name say; ok is false unless both are there.
func nodeOf(mini *miniv1.MiniNode, core *corev1.Node) (node daemonplan.Node, ok bool) {
	if mini == nil || mini.DeletionTimestamp != nil || core == nil {
		return node, false
	}
	return daemonplan.Node{Core: core, Leaving: isLeaving(mini)}, true
}

func isLeaving(mini *miniv1.MiniNode) bool {
	return meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionLeaving)
}

// plan decides what to do.
func (r *Reconciler) plan(_ context.Context, s *scope) error {
	s.todo, s.done.Deleted = daemonplan.Make(s.seen), sets.New[types.UID]()
	return nil
}
