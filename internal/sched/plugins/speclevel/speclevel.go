// Package speclevel keeps MiniPods away from nodes whose agent does not know all that they use: it would run them as if those fields
// were not there.
package speclevel

import (
	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// Plugin passes nodes whose agent knows the spec.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "SpecLevel" }

// Skip tells whether every agent knows the spec.
func (Plugin) Skip(pod *framework.Pod) bool { return pod.SpecLevel == 0 }

// Filter names the newest field of the MiniPod that the agent does not know.
func (Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	if pod.SpecLevel <= node.Spec.SpecLevel {
		return framework.Reason{}
	}
	return framework.Reason{Code: framework.AgentTooOld, Detail: miniv1.SpecLevelField(pod.SpecLevel)}
}
