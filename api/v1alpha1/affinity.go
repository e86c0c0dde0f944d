package v1alpha1

import corev1 "k8s.io/api/core/v1"

// Native is the selector in core/v1's types, which libraries read.
func (s *NodeSelector) Native() *corev1.NodeSelector {
	native := &corev1.NodeSelector{}
	for i := range s.NodeSelectorTerms {
		native.NodeSelectorTerms = append(native.NodeSelectorTerms, s.NodeSelectorTerms[i].Native())
	}
	return native
}

// Native is the term in core/v1's types.
func (t *NodeSelectorTerm) Native() corev1.NodeSelectorTerm {
	native := corev1.NodeSelectorTerm{}
	for _, r := range t.MatchExpressions {
		native.MatchExpressions = append(native.MatchExpressions, corev1.NodeSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: r.Values})
	}
	for _, r := range t.MatchFields {
		native.MatchFields = append(native.MatchFields, corev1.NodeSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: r.Values})
	}
	return native
}
