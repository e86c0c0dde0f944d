package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// NativePodDefaults are fields that a native Pod carries when it comes out of an API server, or of a chart, and that say nothing as long as they
// have these values. They are taken, so that such a Pod becomes a MiniPod by another apiVersion and kind, and they change nothing. Other values
// would, and are refused.
type NativePodDefaults struct {
	// enableServiceLinks says nothing: no variables are made of services but the API server's, whatever it says.
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`

	// schedulerName says nothing: MiniPods are placed by miniplane's scheduler.
	// +optional
	// +kubebuilder:validation:Enum=default-scheduler;""
	SchedulerName string `json:"schedulerName,omitempty"`

	// priority says nothing: all MiniPods have the same.
	// +optional
	// +kubebuilder:validation:Enum=0
	Priority *int32 `json:"priority,omitempty"`

	// priorityClassName says nothing: all MiniPods have the same priority.
	// +optional
	// +kubebuilder:validation:Enum=""
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// preemptionPolicy says nothing: no MiniPod takes another's place.
	// +optional
	// +kubebuilder:validation:Enum=PreemptLowerPriority;Never;""
	PreemptionPolicy *corev1.PreemptionPolicy `json:"preemptionPolicy,omitempty"`

	// hostUsers says nothing: MiniPods have no user namespaces.
	// +optional
	// +kubebuilder:validation:Enum=true
	HostUsers *bool `json:"hostUsers,omitempty"`

	// runtimeClassName says nothing: all containers of a node run by the same runtime.
	// +optional
	// +kubebuilder:validation:Enum=""
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`
}

// NativeContainerDefaults are the same for a container.
type NativeContainerDefaults struct {
	// stdin says nothing: nobody can write to a container's input.
	// +optional
	// +kubebuilder:validation:Enum=false
	Stdin bool `json:"stdin,omitempty"`

	// stdinOnce says when that input ends.
	// +optional
	// +kubebuilder:validation:Enum=false
	StdinOnce bool `json:"stdinOnce,omitempty"`

	// tty says nothing: a container has no terminal.
	// +optional
	// +kubebuilder:validation:Enum=false
	TTY bool `json:"tty,omitempty"`
}

// NativeServiceDefaults are the same for a Service.
type NativeServiceDefaults struct {
	// internalTrafficPolicy says nothing: clients reach backends of all nodes.
	// +optional
	// +kubebuilder:validation:Enum=Cluster
	InternalTrafficPolicy *corev1.ServiceInternalTrafficPolicy `json:"internalTrafficPolicy,omitempty"`

	// externalTrafficPolicy says nothing: clients from outside reach backends of all nodes.
	// +optional
	// +kubebuilder:validation:Enum=Cluster;""
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// ipFamilies says nothing: addresses are IPv4.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1
	// +kubebuilder:validation:items:Enum=IPv4
	IPFamilies []corev1.IPFamily `json:"ipFamilies,omitempty"`

	// ipFamilyPolicy says nothing: addresses are of one family.
	// +optional
	// +kubebuilder:validation:Enum=SingleStack
	IPFamilyPolicy *corev1.IPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`

	// publishNotReadyAddresses says nothing: only what is ready serves.
	// +optional
	// +kubebuilder:validation:Enum=false
	PublishNotReadyAddresses bool `json:"publishNotReadyAddresses,omitempty"`
}
