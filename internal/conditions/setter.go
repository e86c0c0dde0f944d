package conditions

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Setter sets conditions of one generation at one time.
type Setter struct {
	List       *[]metav1.Condition
	Generation int64
	Now        metav1.Time
}

// Set puts a condition into the list.
func (s Setter) Set(kind string, truth bool, reason, message string) {
	Set(s.List, metav1.Condition{Type: kind, Status: Bool(truth), Reason: reason, Message: message, ObservedGeneration: s.Generation, LastTransitionTime: s.Now})
}

// Maybe sets a condition that is there only when it is true.
func (s Setter) Maybe(truth bool, kind, reason, message string) {
	if !truth {
		Remove(s.List, kind)
		return
	}
	s.Set(kind, true, reason, message)
}
