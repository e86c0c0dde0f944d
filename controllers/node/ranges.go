package node

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/internal/nodelife"
	"miniplane.dev/miniplane/internal/statuspatch"
)

// ranges remembers which node has which range of addresses. It is filled from the API, past the cache, before the first
// answer. Of two MiniNodes that claim the same addresses, the older one has them.
type ranges struct {
	reader  client.Reader
	subnets *ipam.Subnets

	mu       sync.Mutex
	restored bool
	refused  map[string]string // by node: why, as it was told last
}

func newRanges(reader client.Reader, cluster netip.Prefix, bits int) *ranges {
	return &ranges{reader: reader, subnets: ipam.NewSubnets(cluster, bits), refused: map[string]string{}}
}

func (r *ranges) restore(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restored {
		return nil
	}
	var nodes miniv1.MiniNodeList
	if err := r.reader.List(ctx, &nodes); err != nil {
		return fmt.Errorf("reading which node has which range: %w", err)
	}
	slices.SortFunc(nodes.Items, func(a, b miniv1.MiniNode) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for i := range nodes.Items {
		if nodes.Items[i].Status.PodCIDR != "" {
			nodelife.PodCIDR(&nodes.Items[i], r.subnets)
		}
	}
	r.restored = true
	return nil
}

// giveRange sees to it that a MiniNode has a range, or says why it has none.
func (r *reconciler) giveRange(ctx context.Context, node *miniv1.MiniNode) error {
	if err := r.ranges.restore(ctx); err != nil || node == nil || node.DeletionTimestamp != nil {
		return err
	}
	if err := r.recallRange(ctx, node); err != nil {
		return err
	}
	cidr, problem := nodelife.PodCIDR(node, r.ranges.subnets)
	if node.Status.PodCIDR != "" {
		return r.keepRange(ctx, node, problem)
	}
	if problem != nil {
		return r.refuseRange(ctx, node, problem)
	}
	before := node.DeepCopy()
	node.Status.PodCIDR = cidr
	if _, err := statuspatch.PatchShared(ctx, r.client, before, node); err != nil {
		return client.IgnoreNotFound(err)
	}
	return nil
}

// recallRange gives a node whose MiniNode was deleted and made again the range that its MiniPods have addresses of, while that is
// free: a manager that was not there at the deletion does not remember it.
func (r *reconciler) recallRange(ctx context.Context, node *miniv1.MiniNode) error {
	if node.Status.PodCIDR != "" || node.Spec.PodCIDR != "" || r.ranges.subnets.Held(node.Name) {
		return nil
	}
	var pods miniv1.MiniPodList
	if err := r.client.List(ctx, &pods, client.MatchingFields{index.PodNode: node.Name}); err != nil {
		return err
	}
	for i := range pods.Items {
		if nodelife.Recall(&pods.Items[i], node.Name, r.ranges.subnets) {
			return nil
		}
	}
	return nil
}

// keepRange leaves a node the range that it has, but for one whose addresses another node had first: that one is taken back, so
// that no packet for the other's MiniPods goes astray. The next look gives the node a range of its own.
func (r *reconciler) keepRange(ctx context.Context, node *miniv1.MiniNode, problem *metav1.Condition) error {
	if problem == nil {
		return nil
	}
	owner := nodelife.RangeOwner(node, r.ranges.subnets)
	if owner == "" { // of another configuration: what runs there runs on
		if r.ranges.isNews(node.Name, problem.Message) {
			r.ranges.tell(node.Name, problem.Message)
			r.recorder.Eventf(node, nil, corev1.EventTypeWarning, problem.Reason, "KeepRange", "%s", conditions.Note(problem.Message))
		}
		return nil
	}
	taken := node.Status.PodCIDR
	problem.Message = fmt.Sprintf("the range %s is taken back: its addresses are those of node %s, which had them first", taken, owner)
	problem.ObservedGeneration = node.Generation
	err := r.patchStatus(ctx, node, func() {
		node.Status.PodCIDR = ""
		conditions.Set(&node.Status.Conditions, *problem)
	})
	if err != nil {
		return err
	}
	rangesTakenBack.Inc()
	r.recorder.Eventf(node, nil, corev1.EventTypeWarning, problem.Reason, "TakeRangeBack", "%s", conditions.Note(problem.Message))
	return nil
}

// refuseRange says why a node cannot have a range. It does not insist against an agent that answers that it waits for one.
func (r *reconciler) refuseRange(ctx context.Context, node *miniv1.MiniNode, problem *metav1.Condition) error {
	ready := meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionReady)
	said := ready != nil && ready.Reason == problem.Reason && ready.Message == problem.Message
	waits := ready != nil && ready.Reason == miniv1.ReasonPodCIDRPending
	if said || waits && !r.ranges.isNews(node.Name, problem.Message) {
		return nil
	}
	problem.ObservedGeneration = node.Generation
	if err := r.patchStatus(ctx, node, func() { conditions.Set(&node.Status.Conditions, *problem) }); err != nil {
		return err
	}
	r.ranges.tell(node.Name, problem.Message)
	r.recorder.Eventf(node, nil, corev1.EventTypeWarning, problem.Reason, "GiveRange", "%s", conditions.Note(problem.Message))
	return nil
}

func (r *ranges) isNews(node, message string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[node] != message
}

func (r *ranges) tell(node, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[node] = message
}

// release frees the range of a node that is gone. A node that waits for one looks again when its grace period ends.
func (r *ranges) release(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subnets.Release(node)
	delete(r.refused, node)
}
