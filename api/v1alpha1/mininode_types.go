package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MiniNodeSpec is what an administrator asks of a node's lane.
type MiniNodeSpec struct {
	// podCIDR asks for this range of addresses for the node's MiniPods. What was given stands in status.podCIDR.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self == '' || isCIDR(self)",message="podCIDR must be a range such as 10.210.4.0/22"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf || oldSelf == ''",message="podCIDR cannot be changed while the node exists"
	PodCIDR string `json:"podCIDR,omitempty"`
}

// MiniNodeStatus is what the agent reports; the manager gives the range, and speaks for an agent that is lost.
type MiniNodeStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// podCIDR is the range of addresses for the node's MiniPods, given by the manager. Set once.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the range of a node stays"
	PodCIDR string `json:"podCIDR,omitempty"`

	// nodeIP is the address under which other nodes reach this one.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	NodeIP string `json:"nodeIP,omitempty"`

	// capacity of the machine: cpu, memory and the number of MiniPods ("pods").
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Capacity corev1.ResourceList `json:"capacity,omitempty"`

	// allocatable is the lane's budget: what MiniPods may ask for together.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Allocatable corev1.ResourceList `json:"allocatable,omitempty"`

	// nodeInfo tells versions.
	// +optional
	NodeInfo MiniNodeInfo `json:"nodeInfo,omitzero"`

	// daemonSet is the one that keeps the node's agent, as NAMESPACE/NAME; empty where none does. When it no longer wants the
	// node, the node leaves.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	DaemonSet string `json:"daemonSet,omitempty"`

	// images present on the node, the largest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Images []ContainerImage `json:"images,omitempty"`

	// conditions are Ready, PIDPressure, PeersUnreachable where there are other nodes, and Leaving while the node leaves.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MiniNodeInfo tells the versions of what runs on a node, and since which start of the machine.
type MiniNodeInfo struct {
	// agentVersion of miniplane's node agent.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AgentVersion string `json:"agentVersion,omitempty"`

	// readsAsNode is the agentVersion that last said that it reads Secrets as the ServiceAccount of its node. An agent of another
	// version, as after a way back to one, reads them in its own name.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ReadsAsNode string `json:"readsAsNode,omitempty"`

	// answersEchoes is the agentVersion that last said that the node answers ICMP echoes at the first address of its range. Of another
	// version it is not known, and that there is no answer says nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AnswersEchoes string `json:"answersEchoes,omitempty"`

	// specLevel is how much of a MiniPod's spec the agent knows: 0 the fields of the first version, 1 initContainers too. A MiniPod
	// that uses more is not bound to the node.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SpecLevel int32 `json:"specLevel,omitempty"`

	// specLevelOf is the agentVersion that last said its specLevel. That of an agent of another version, as after a way back to
	// one, is 0.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SpecLevelOf string `json:"specLevelOf,omitempty"`

	// containerRuntimeVersion is the runtime with its version, as in "containerd://2.4.2".
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ContainerRuntimeVersion string `json:"containerRuntimeVersion,omitempty"`

	// kernelVersion of the machine.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	KernelVersion string `json:"kernelVersion,omitempty"`

	// bootID is another one after each start of the machine.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	BootID string `json:"bootID,omitempty"`

	// operatingSystem is the kind of system, as in "linux".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	OperatingSystem string `json:"operatingSystem,omitempty"`

	// architecture is the kind of processor, as in "amd64".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Architecture string `json:"architecture,omitempty"`
}

// ContainerImage is an image that is present on a node.
type ContainerImage struct {
	// names of the image.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=512
	Names []string `json:"names,omitempty"`

	// sizeBytes of the image.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`
}

// MiniNode is one node's lane. The core Node of the same name has the labels, the taints and the cordon.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mno,categories={all,mini}
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].status"
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=".status.allocatable.cpu"
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=".status.allocatable.memory"
// +kubebuilder:printcolumn:name="Pods",type=string,JSONPath=".status.allocatable.pods"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=".status.nodeInfo.agentVersion"
// +kubebuilder:printcolumn:name="Node-IP",type=string,JSONPath=".status.nodeIP",priority=1
// +kubebuilder:printcolumn:name="Pod-CIDR",type=string,JSONPath=".status.podCIDR",priority=1
type MiniNode struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is asked for.
	// +optional
	Spec MiniNodeSpec `json:"spec,omitzero"`

	// status is what the agent reports.
	// +optional
	// +structType=atomic
	Status MiniNodeStatus `json:"status,omitzero"`
}

// MiniNodeList is a list of MiniNodes.
// +kubebuilder:object:root=true
type MiniNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniNode `json:"items"`
}
