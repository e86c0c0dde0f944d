// Package nodeaffinity holds a MiniPod to the nodes that its spec.affinity.nodeAffinity requires, and leads it to those that it prefers.
package nodeaffinity

import "miniplane.dev/miniplane/internal/sched/framework"

// Filter passes nodes that are what is required. As in kube-scheduler, a term that cannot be understood matches no node.
type Filter struct{}

// Name of the plugin.
func (Filter) Name() string { return "NodeAffinity" }

// Skip tells whether the MiniPod has no nodeAffinity.
func (Filter) Skip(pod *framework.Pod) bool { return pod.NodeAffinity == nil }

// Filter says that the node is not what is required.
func (Filter) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	if !pod.NodeAffinity.Allows(node) {
		return framework.Reason{Code: framework.NodeAffinityUnmet}
	}
	return framework.Reason{}
}

// Prefer prefers nodes that meet preferences of much weight.
type Prefer struct{}

// Name of the plugin.
func (Prefer) Name() string { return "NodeAffinity" }

// Skip tells whether the MiniPod has no nodeAffinity.
func (Prefer) Skip(pod *framework.Pod) bool { return pod.NodeAffinity == nil }

// Score is the weight of the preferences that the node meets, as a share of that of all; 0 where there are none.
func (Prefer) Score(pod *framework.Pod, node *framework.NodeInfo) int64 {
	weight, of := pod.NodeAffinity.Preference(node)
	if of == 0 {
		return 0
	}
	return framework.MaxScore * weight / of
}
