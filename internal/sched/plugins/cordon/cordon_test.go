package cordon_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/cordon"
)

func TestFilter(t *testing.T) {
	tolerant := []miniv1.Toleration{{Key: "node.kubernetes.io/unschedulable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	cases := []struct {
		name        string
		cordoned    bool
		tolerations []miniv1.Toleration
		want        framework.Reason
	}{
		{"open", false, nil, framework.Reason{}},
		{"cordoned", true, nil, framework.Reason{Code: framework.Cordoned}},
		{"cordoned and tolerated", true, tolerant, framework.Reason{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			node := &framework.NodeInfo{Spec: &framework.NodeSpec{Cordoned: c.cordoned}}
			if got := (cordon.Plugin{}).Filter(&framework.Pod{Tolerations: c.tolerations}, node); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
