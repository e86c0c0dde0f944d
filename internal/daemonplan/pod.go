package daemonplan

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonset"
)

// Aim makes a MiniPod of the template one for that node, of that revision. It may come, and stay, where others may not.
func Aim(pod *miniv1.MiniPod, node, hash string) {
	pod.Spec.NodeName = node
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
	for _, extra := range daemonset.Tolerations(pod.Spec.HostNetwork) {
		// One that is there and says for how long would end the MiniPod, and another would come, again and again.
		pod.Spec.Tolerations = slices.DeleteFunc(pod.Spec.Tolerations, func(t miniv1.Toleration) bool { return same(&t, &extra) })
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, miniv1.Toleration{Key: extra.Key, Operator: extra.Operator, Effect: extra.Effect})
	}
}

func same(t *miniv1.Toleration, other *corev1.Toleration) bool {
	return t.Key == other.Key && t.Operator == other.Operator && t.Value == other.Value && t.Effect == other.Effect
}
