package nodeready_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/nodeready"
)

func mini(cidr string, ready metav1.ConditionStatus) *miniv1.MiniNode {
	return &miniv1.MiniNode{Status: miniv1.MiniNodeStatus{PodCIDR: cidr,
		Conditions: []metav1.Condition{{Type: miniv1.ConditionReady, Status: ready}}}}
}

func TestFilter(t *testing.T) {
	deleting := mini("100.64.0.0/22", metav1.ConditionTrue)
	deleting.DeletionTimestamp = &metav1.Time{}
	leaving := mini("100.64.0.0/22", metav1.ConditionTrue)
	leaving.Status.Conditions = append(leaving.Status.Conditions, metav1.Condition{Type: miniv1.ConditionLeaving, Status: metav1.ConditionTrue})
	cases := []struct {
		name string
		mini *miniv1.MiniNode
		core *corev1.Node
		want framework.Code
	}{
		{"ready", mini("100.64.0.0/22", metav1.ConditionTrue), &corev1.Node{}, framework.Fits},
		{"not registered", mini("100.64.0.0/22", metav1.ConditionTrue), nil, framework.NotRegistered},
		{"no range yet", mini("", metav1.ConditionFalse), &corev1.Node{}, framework.NoPodRange},
		{"not ready", mini("100.64.0.0/22", metav1.ConditionFalse), &corev1.Node{}, framework.NotReady},
		{"unknown", mini("100.64.0.0/22", metav1.ConditionUnknown), &corev1.Node{}, framework.NotReady},
		{"never heard of", &miniv1.MiniNode{Status: miniv1.MiniNodeStatus{PodCIDR: "100.64.0.0/22"}}, &corev1.Node{}, framework.NotReady},
		{"leaving", leaving, &corev1.Node{}, framework.Leaving},
		{"going", deleting, &corev1.Node{}, framework.NotReady},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			node := &framework.NodeInfo{Spec: framework.NewNodeSpec(c.mini, c.core)}
			if got := (nodeready.Plugin{}).Filter(nil, node).Code; got != c.want {
				t.Errorf("code %d, want %d", got, c.want)
			}
		})
	}
}
