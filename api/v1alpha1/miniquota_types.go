package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MiniQuotaSpec bounds what the MiniPods of a namespace may use together.
type MiniQuotaSpec struct {
	// hard limits by name. Compute: cpu (or requests.cpu), memory (or requests.memory), limits.cpu, limits.memory are
	// charged when a MiniPod is bound to a node; one that does not fit waits. Object counts: count/minipods,
	// count/miniservices and so on for every Mini kind, count/<resource>.<group> and count/secrets, count/configmaps for
	// others, are refused by the API server when exceeded.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Hard corev1.ResourceList `json:"hard"`
}

// MiniQuotaStatus is what is used.
type MiniQuotaStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// hard is spec.hard as enforced.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Hard corev1.ResourceList `json:"hard,omitempty"`

	// used is what bound MiniPods, and existing objects, take of each.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Used corev1.ResourceList `json:"used,omitempty"`

	// waitingPods is the number of MiniPods that wait for this quota.
	// +optional
	WaitingPods int32 `json:"waitingPods,omitempty"`

	// usedSummary is what `kubectl get` shows under USED, as in "cpu: 800m/1, count/minipods: 5/10".
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	UsedSummary string `json:"usedSummary,omitempty"`

	// conditions are Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MiniQuota bounds what the MiniPods of a namespace may use together.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mquota,categories={all,mini}
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=".status.usedSummary"
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=".status.waitingPods"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type MiniQuota struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec MiniQuotaSpec `json:"spec"`

	// status is what is used.
	// +optional
	// +structType=atomic
	Status MiniQuotaStatus `json:"status,omitzero"`
}

// MiniQuotaList is a list of MiniQuotas.
// +kubebuilder:object:root=true
type MiniQuotaList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniQuota `json:"items"`
}
