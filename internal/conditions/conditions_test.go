package conditions_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"miniplane.dev/miniplane/internal/conditions"
)

func TestSet(t *testing.T) {
	then := metav1.NewTime(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	var list []metav1.Condition
	conditions.Set(&list, metav1.Condition{Type: "Ready", Status: conditions.Bool(true), Reason: "A", LastTransitionTime: then})
	conditions.Set(&list, metav1.Condition{Type: "Ready", Status: conditions.Bool(true), Reason: "B", Message: strings.Repeat("x", 40000)})
	if len(list) != 1 || list[0].Reason != "B" || !list[0].LastTransitionTime.Equal(&then) || len(list[0].Message) != 32768 {
		t.Errorf("the same status: %d conditions, reason %s, since %s, message of %d", len(list), list[0].Reason, list[0].LastTransitionTime, len(list[0].Message))
	}
	conditions.Set(&list, metav1.Condition{Type: "Ready", Status: conditions.Bool(false), Reason: "C"})
	if list[0].Status != metav1.ConditionFalse || list[0].LastTransitionTime.Equal(&then) {
		t.Errorf("another status keeps the time: %+v", list[0])
	}
	conditions.Remove(&list, "Ready")
	if len(list) != 0 {
		t.Errorf("after the removal: %+v", list)
	}
}
