// Package taints keeps MiniPods away from the taints of core Nodes that they do not tolerate.
package taints

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// Filter passes nodes whose NoSchedule and NoExecute taints are all tolerated. A NoExecute taint that is tolerated for a
// time only is tolerated here: the MiniPod may start, and the node controller ends it when the time is over.
type Filter struct{}

// Name of the plugin.
func (Filter) Name() string { return "TaintToleration" }

// Filter names the first taint that is not tolerated.
func (Filter) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || Tolerated(pod.Tolerations, &taint.Taint) {
			continue
		}
		return framework.Reason{Code: framework.Tainted, Detail: taint.Text}
	}
	return framework.Reason{}
}

// Prefer prefers nodes with few PreferNoSchedule taints that are not tolerated.
type Prefer struct{}

// Name of the plugin.
func (Prefer) Name() string { return "PreferNoSchedule" }

// Score halves with the first such taint, is a third with two, and so on.
func (Prefer) Score(pod *framework.Pod, node *framework.NodeInfo) int64 {
	var bad int64
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule && !Tolerated(pod.Tolerations, &taint.Taint) {
			bad++
		}
	}
	return framework.MaxScore / (1 + bad)
}

// Tolerated tells whether one of the tolerations covers the taint.
func Tolerated(tolerations []miniv1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if Matches(&tolerations[i], taint) {
			return true
		}
	}
	return false
}

// Matches tells whether the toleration covers the taint: the same effect, or none given; the same key, or none given; and
// the same value, unless it is enough that the taint exists.
func Matches(t *miniv1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	if t.Operator == corev1.TolerationOpExists {
		return true
	}
	return t.Key != "" && t.Value == taint.Value
}

// Patience is how long a toleration with these tolerationSeconds lasts: less than none is none, and more than a duration can hold is as
// much as it holds, which is 292 years.
func Patience(seconds int64) time.Duration {
	return time.Duration(min(max(0, seconds), math.MaxInt64/int64(time.Second))) * time.Second
}
