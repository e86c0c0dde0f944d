package v1alpha1

import corev1 "k8s.io/api/core/v1"

// PodPlacement is where a MiniPod may run, and where better, by what nodes and other MiniPods are. The fields are core/v1's. The scheduler alone
// heeds them, and no agent has to know them: there is no SpecLevel for them.
type PodPlacement struct {
	// affinity is which nodes the MiniPod may run on, and which it prefers.
	// +optional
	Affinity *Affinity `json:"affinity,omitempty"`
}

// Affinity is what draws a MiniPod to nodes, or keeps it away from them. It is heeded when the MiniPod gets its node, and never after that.
type Affinity struct {
	// nodeAffinity is about the nodes themselves.
	// +optional
	NodeAffinity *NodeAffinity `json:"nodeAffinity,omitempty"`
}

// NodeAffinity is which nodes a MiniPod may run on, and which it prefers, by their labels and names.
type NodeAffinity struct {
	// requiredDuringSchedulingIgnoredDuringExecution is what a node must be.
	// +optional
	RequiredDuringSchedulingIgnoredDuringExecution *NodeSelector `json:"requiredDuringSchedulingIgnoredDuringExecution,omitempty"`

	// preferredDuringSchedulingIgnoredDuringExecution is what nodes are preferred for: the more weight together, the more.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PreferredDuringSchedulingIgnoredDuringExecution []PreferredSchedulingTerm `json:"preferredDuringSchedulingIgnoredDuringExecution,omitempty"`
}

// NodeSelector selects nodes that one of its terms selects.
type NodeSelector struct {
	// nodeSelectorTerms of which one must select the node.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	NodeSelectorTerms []NodeSelectorTerm `json:"nodeSelectorTerms"`
}

// NodeSelectorTerm selects nodes that meet all that it asks for. One that asks for nothing selects none.
type NodeSelectorTerm struct {
	// matchExpressions is what is asked of the labels of a node.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	MatchExpressions []NodeSelectorRequirement `json:"matchExpressions,omitempty"`

	// matchFields is what is asked of the name of a node.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	MatchFields []NodeFieldRequirement `json:"matchFields,omitempty"`
}

// NodeSelectorRequirement is what is asked of one label of a node.
// +kubebuilder:validation:XValidation:rule="!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",message="values must be given when operator is In or NotIn"
// +kubebuilder:validation:XValidation:rule="!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",message="values cannot be given when operator is Exists or DoesNotExist"
// +kubebuilder:validation:XValidation:rule="!(self.operator in ['Gt', 'Lt']) || (has(self.values) && size(self.values) == 1)",message="exactly one of values must be given when operator is Gt or Lt"
type NodeSelectorRequirement struct {
	// key of the label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Key string `json:"key"`

	// operator is In, NotIn, Exists, DoesNotExist, Gt or Lt. A label that a node does not have is neither in any values, nor greater or less.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist;Gt;Lt
	Operator corev1.NodeSelectorOperator `json:"operator"`

	// values for In and NotIn; one for Gt and Lt, a whole number, which the value of the label is compared with.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Values []string `json:"values,omitempty"`
}

// NodeFieldRequirement is what is asked of the name of a node.
type NodeFieldRequirement struct {
	// key is metadata.name.
	// +required
	// +kubebuilder:validation:Enum=metadata.name
	Key string `json:"key"`

	// operator is In or NotIn.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn
	Operator corev1.NodeSelectorOperator `json:"operator"`

	// values has the name of one node.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:items:MaxLength=253
	Values []string `json:"values"`
}

// PreferredSchedulingTerm is what nodes are preferred for, and how much.
type PreferredSchedulingTerm struct {
	// weight of the preference, from 1 to 100.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// preference selects the nodes that are preferred.
	// +required
	Preference NodeSelectorTerm `json:"preference"`
}
