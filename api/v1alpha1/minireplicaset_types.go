package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MiniReplicaSetSpec says how many MiniPods of which template there should be.
type MiniReplicaSetSpec struct {
	// replicas is the wanted number of MiniPods; 1 when not given.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Replicas *int32 `json:"replicas,omitempty"`

	// minReadySeconds is how long, in seconds, a MiniPod must be ready before it counts as available.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds int32 `json:"minReadySeconds,omitempty"`

	// selector finds the MiniPods; it must match the labels of the template and cannot be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="selector cannot be changed; create a new MiniReplicaSet instead"
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty selector would match every MiniPod of the namespace; give matchLabels or matchExpressions"
	Selector *metav1.LabelSelector `json:"selector"`

	// template of the MiniPods. A change is for MiniPods created later; a MiniDeployment rolls changes out.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.restartPolicy) || self.spec.restartPolicy in ['', 'Always']",message="restartPolicy must be Always in a MiniReplicaSet"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.activeDeadlineSeconds)",message="activeDeadlineSeconds cannot be in a template, whose MiniPods would fail and be replaced for ever; leave it out"
	Template MiniPodTemplateSpec `json:"template"`
}

// MiniReplicaSetStatus is what the controller sees.
type MiniReplicaSetStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is the number of MiniPods that exist and are not being deleted.
	// +optional
	Replicas int32 `json:"replicas"`

	// fullyLabeledReplicas have all the labels of the template.
	// +optional
	FullyLabeledReplicas int32 `json:"fullyLabeledReplicas,omitempty"`

	// readyReplicas are ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`

	// availableReplicas have been ready for minReadySeconds.
	// +optional
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`

	// selector is spec.selector in the form that the scale subresource, and so autoscalers, need.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Selector string `json:"selector,omitempty"`

	// conditions are Ready, ReplicaFailure, Stalled, Reconciling.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MiniReplicaSet keeps a number of equal MiniPods running.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mrs,categories={all,mini}
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=".spec.replicas"
// +kubebuilder:printcolumn:name="Current",type=integer,JSONPath=".status.replicas"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=".status.readyReplicas"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=".status.selector",priority=1
type MiniReplicaSet struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec MiniReplicaSetSpec `json:"spec"`

	// status is what the controller sees.
	// +optional
	// +structType=atomic
	Status MiniReplicaSetStatus `json:"status,omitzero"`
}

// MiniReplicaSetList is a list of MiniReplicaSets.
// +kubebuilder:object:root=true
type MiniReplicaSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniReplicaSet `json:"items"`
}
