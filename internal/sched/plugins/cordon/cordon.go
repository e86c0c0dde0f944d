// Package cordon keeps MiniPods away from core Nodes that are marked unschedulable, as `kubectl cordon` and `kubectl drain` do.
package cordon

import (
	corev1 "k8s.io/api/core/v1"

	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// mark is the taint that a cordon stands for. A MiniPod that tolerates it may come all the same.
var mark = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// Plugin passes nodes that are not cordoned.
type Plugin struct{}

// Name of the plugin.
func (Plugin) Name() string { return "NodeUnschedulable" }

// Filter looks at spec.unschedulable of the core Node.
func (Plugin) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	if !node.Spec.Cordoned || taints.Tolerated(pod.Tolerations, &mark) {
		return framework.Reason{}
	}
	return framework.Reason{Code: framework.Cordoned}
}
