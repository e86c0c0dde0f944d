// Package conditions sets metav1.Conditions the way every kind of miniplane does.
package conditions

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMessage keeps a condition within what the API accepts.
const maxMessage = 32768

// Set puts a condition into the list. The transition time changes only with the status.
func Set(list *[]metav1.Condition, condition metav1.Condition) {
	condition.Message = Clip(condition.Message, maxMessage)
	meta.SetStatusCondition(list, condition)
}

// Bool is the condition status of a truth.
func Bool(ok bool) metav1.ConditionStatus {
	if ok {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// Remove takes a condition out of the list.
func Remove(list *[]metav1.Condition, conditionType string) {
	meta.RemoveStatusCondition(list, conditionType)
}
