package pressure_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/pressure"
)

func TestFilter(t *testing.T) {
	tolerant := []miniv1.Toleration{{Key: "node.kubernetes.io/pid-pressure", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	cases := []struct {
		name        string
		condition   metav1.ConditionStatus
		tolerations []miniv1.Toleration
		want        framework.Code
	}{
		{"never said", "", nil, framework.Fits},
		{"enough", metav1.ConditionFalse, nil, framework.Fits},
		{"not known", metav1.ConditionUnknown, nil, framework.Fits},
		{"short", metav1.ConditionTrue, nil, framework.PIDPressure},
		{"short and tolerated", metav1.ConditionTrue, tolerant, framework.Fits},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mini := &miniv1.MiniNode{}
			if c.condition != "" {
				mini.Status.Conditions = []metav1.Condition{{Type: miniv1.ConditionPIDPressure, Status: c.condition}}
			}
			node := &framework.NodeInfo{Spec: framework.NewNodeSpec(mini, &corev1.Node{})}
			if got := (pressure.Plugin{}).Filter(&framework.Pod{Tolerations: c.tolerations}, node).Code; got != c.want {
				t.Errorf("code %d, want %d", got, c.want)
			}
		})
	}
}
