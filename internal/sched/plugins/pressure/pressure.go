// Package pressure keeps MiniPods away from nodes whose lane has hardly any processes left to start.
package pressure

import (
	corev1 "k8s.io/api/core/v1"

	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// mark is the taint that Kubernetes puts on a core Node for this. A MiniPod that tolerates it may come all the same.
var mark = corev1.Taint{Key: corev1.TaintNodePIDPressure, Effect: corev1.TaintEffectNoSchedule}

// Plugin passes nodes that are not short of processes.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "PIDPressure" }

// Filter looks at the condition PIDPressure of the MiniNode.
func (Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	if !node.Spec.PIDPressure || taints.Tolerated(pod.Tolerations, &mark) {
		return framework.Reason{}
	}
	return framework.Reason{Code: framework.PIDPressure}
}
