// Package nodename holds a MiniPod with spec.nodeName to that node: the "PodFitsHost" rule.
package nodename

import "miniplane.dev/miniplane/internal/sched/framework"

// Plugin passes the node that the MiniPod asks for, and every node when it asks for none.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "NodeName" }

// Skip tells whether the MiniPod asks for no node.
func (Plugin) Skip(pod *framework.Pod) bool { return pod.NodeName == "" }

// Filter compares names.
func (Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	if pod.NodeName == "" || pod.NodeName == node.Name {
		return framework.Reason{}
	}
	return framework.Reason{Code: framework.OtherNode, Detail: pod.NodeName}
}
