// Package nodeselector holds a MiniPod to nodes with the labels of its nodeSelector.
package nodeselector

import "miniplane.dev/miniplane/internal/sched/framework"

// Plugin passes nodes that have every label of spec.nodeSelector with the same value.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "NodeSelector" }

// Skip tells whether the MiniPod has no nodeSelector.
func (Plugin) Skip(pod *framework.Pod) bool { return len(pod.NodeSelector) == 0 }

// Filter names the first label, by key, that is missing or different.
func (Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	for _, label := range pod.NodeSelector {
		if value, ok := node.Spec.Labels[label.Key]; !ok || value != label.Value {
			return framework.Reason{Code: framework.LabelMissing, Detail: label.Key + "=" + label.Value}
		}
	}
	return framework.Reason{}
}
