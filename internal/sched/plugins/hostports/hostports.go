// Package hostports keeps two MiniPods from opening the same port of one node.
package hostports

import (
	"fmt"
	"slices"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// Plugin passes nodes on which the host ports of the MiniPod are free.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "HostPorts" }

// Skip tells whether the MiniPod has no host ports.
func (Plugin) Skip(pod *framework.Pod) bool { return len(pod.HostPorts) == 0 }

// Filter names the first port that is in use.
func (Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	for _, port := range pod.HostPorts {
		if slices.Contains(node.HostPorts, port) {
			return framework.Reason{Code: framework.HostPortTaken, Detail: fmt.Sprintf("%d/%s", port.Number(), port.Protocol())}
		}
	}
	return framework.Reason{}
}
