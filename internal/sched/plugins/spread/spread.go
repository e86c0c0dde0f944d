// Package spread puts the MiniPods of one controller, or those with the same labels, on different nodes while it can.
package spread

import "miniplane.dev/miniplane/internal/sched/framework"

// Plugin prefers nodes with few MiniPods of the same group.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "Spread" }

// Score is whole without any, a half with one, a third with two, and so on.
func (Plugin) Score(pod *framework.Pod, node *framework.NodeInfo) int64 {
	if pod.Group == 0 {
		return framework.MaxScore
	}
	return framework.MaxScore / (1 + int64(node.GroupCount(pod.Group)))
}
