// Package nodeready passes nodes that can start containers, and will stay: registered, the agent alive, addresses given, not leaving.
package nodeready

import "miniplane.dev/miniplane/internal/sched/framework"

// Plugin passes nodes that are ready.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "NodeReady" }

// Filter looks at the conditions Ready and Leaving and the pod range of the MiniNode, and for a core Node of its name.
func (Plugin) Filter(_ *framework.Pod, node *framework.NodeInfo) framework.Reason {
	switch {
	case !node.Spec.Registered:
		return framework.Reason{Code: framework.NotRegistered}
	case !node.Spec.HasRange:
		return framework.Reason{Code: framework.NoPodRange}
	case !node.Spec.Ready:
		return framework.Reason{Code: framework.NotReady}
	case node.Spec.Leaving:
		return framework.Reason{Code: framework.Leaving}
	}
	return framework.Reason{}
}
