package replicas

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// Victims sorts MiniPods by how little they are missed, least first, in the order that native ReplicaSets use: without a
// node before with one; pending, then unknown, then running; not ready before ready; cheaper by the annotation
// controller.kubernetes.io/pod-deletion-cost; from the node with more replicas (related ones count as well); ready for a
// shorter time; restarted more often; newer; and by name, so that the order is always the same.
func Victims(pods, related []*miniv1.MiniPod) []*miniv1.MiniPod {
	crowd := crowding(pods, related)
	return slices.SortedFunc(slices.Values(pods), func(a, b *miniv1.MiniPod) int {
		return cmp.Or(
			compareBool(podstate.IsBound(a), podstate.IsBound(b)),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			compareBool(podstate.IsReady(a), podstate.IsReady(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(crowd[b.Status.NodeName], crowd[a.Status.NodeName]),
			readySince(b).Compare(readySince(a)),
			cmp.Compare(b.Status.Restarts, a.Status.Restarts),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
}

// crowding counts the active replicas per node. A MiniPod that is in both lists counts once.
func crowding(pods, related []*miniv1.MiniPod) map[string]int {
	seen := sets.New[types.UID]()
	crowd := map[string]int{}
	for _, pod := range slices.Concat(pods, related) {
		if podstate.IsBound(pod) && podstate.IsActive(pod) && !seen.Has(pod.UID) {
			seen.Insert(pod.UID)
			crowd[pod.Status.NodeName]++
		}
	}
	return crowd
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func phaseRank(pod *miniv1.MiniPod) int {
	switch pod.Status.Phase {
	case miniv1.PodRunning:
		return 2
	case miniv1.PodUnknown:
		return 1
	default:
		return 0
	}
}

// deletionCost is what the user says a MiniPod is worth; 0 where nothing readable is said.
func deletionCost(pod *miniv1.MiniPod) int64 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

func readySince(pod *miniv1.MiniPod) time.Time {
	if !podstate.IsReady(pod) {
		return time.Time{}
	}
	return meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionReady).LastTransitionTime.Time
}
