// Package hostports keeps two MiniPods from opening the same port of one node.
//
// Nor may a MiniPod open a port that is the node's own or may be given to a Service: it would draw what is meant for
// sshd, the API server or somebody's node port to itself.
package hostports

import (
	"fmt"
	"slices"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// Plugin passes nodes on which the host ports of the MiniPod are free.
type Plugin struct {
	// Reserved are ports, of either protocol, that no MiniPod may open.
	Reserved []Range
}

// Range is the ports from First to Last, both included.
type Range struct{ First, Last int32 }

// Name of the plugin.
func (Plugin) Name() string { return "HostPorts" }

// Skip tells whether the MiniPod has no host ports.
func (Plugin) Skip(pod *framework.Pod) bool { return len(pod.HostPorts) == 0 }

// Filter names the first port that is reserved or in use.
func (p Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	for _, port := range pod.HostPorts {
		if slices.ContainsFunc(p.Reserved, func(r Range) bool { return r.First <= port.Number() && port.Number() <= r.Last }) {
			return framework.Reason{Code: framework.HostPortReserved, Detail: fmt.Sprintf("%d/%s", port.Number(), port.Protocol())}
		}
		if slices.Contains(node.HostPorts, port) {
			return framework.Reason{Code: framework.HostPortTaken, Detail: fmt.Sprintf("%d/%s", port.Number(), port.Protocol())}
		}
	}
	return framework.Reason{}
}
