package podplan

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

var disrupted = metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue, Reason: "X", LastTransitionTime: metav1.NewTime(t0)}

func TestKeepForeign(t *testing.T) {
	target := metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue, Reason: "X"}
	mine := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Mine"}
	theirs := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Theirs"}
	status := miniv1.MiniPodStatus{Conditions: []metav1.Condition{mine}}
	KeepForeign(&status, testPod().With(func(p *miniv1.MiniPod) { p.Status.Conditions = []metav1.Condition{theirs, target} }).Obj())
	if len(status.Conditions) != 2 || status.Conditions[0].Reason != "Mine" || status.Conditions[1].Reason != "X" || status.NodeName != "n1" {
		t.Errorf("got %+v", status)
	}
}

// A status that waited to be written, while a condition was taken away, does not bring it back either.
func TestWaitingStatusRevivesNothing(t *testing.T) {
	status := miniv1.MiniPodStatus{Conditions: []metav1.Condition{disrupted, {Type: miniv1.ConditionReady, Reason: "Mine"}}}
	KeepForeign(&status, testPod().Obj())
	if len(status.Conditions) != 1 || status.Conditions[0].Reason != "Mine" {
		t.Errorf("conditions %+v", status.Conditions)
	}
}
