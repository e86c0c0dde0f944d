package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// MiniServiceSpec says which MiniPods are reached under which ports.
// +kubebuilder:validation:XValidation:rule="self.type == 'NodePort' || !has(self.ports) || self.ports.all(p, !has(p.nodePort) || p.nodePort == 0)",message="nodePort can be set only when type is NodePort"
// +kubebuilder:validation:XValidation:rule="self.type != 'NodePort' || !has(self.clusterIP) || self.clusterIP != 'None'",message="a headless service (clusterIP None) cannot have type NodePort"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || size(self.ports) == 1 || self.ports.all(p, has(p.name) && size(p.name) > 0)",message="every port needs a name when there are several"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, !has(p.name) || size(p.name) == 0 || self.ports.exists_one(q, has(q.name) && q.name == p.name))",message="port names must be unique"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, !has(p.nodePort) || p.nodePort == 0 || self.ports.exists_one(q, has(q.nodePort) && q.nodePort == p.nodePort && (q.protocol == 'UDP') == (p.protocol == 'UDP')))",message="each nodePort can be used once per protocol"
// +kubebuilder:validation:XValidation:rule="!has(self.sessionAffinityConfig) || self.sessionAffinity == 'ClientIP'",message="sessionAffinityConfig can be set only when sessionAffinity is ClientIP"
type MiniServiceSpec struct {
	// type is ClusterIP (the default) or NodePort.
	// +optional
	// +default="ClusterIP"
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;""
	Type corev1.ServiceType `json:"type,omitempty"`

	// selector matches the labels of the MiniPods that serve.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Selector map[string]string `json:"selector,omitempty"`

	// clusterIP asks for this virtual IP, or with None for no virtual IP at all. What was given stands in status.clusterIP.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="self == '' || self == 'None' || isIP(self)",message="clusterIP must be an IP address, None, or empty"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf || oldSelf == ''",message="clusterIP cannot be changed once it is set; delete and create the service instead"
	ClusterIP string `json:"clusterIP,omitempty"`

	// ports of the service.
	// +required
	// +listType=map
	// +listMapKey=port
	// +listMapKey=protocol
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Ports []ServicePort `json:"ports"`

	// sessionAffinity is None (the default: each connection goes to a random backend) or ClientIP (each client address
	// stays with one backend).
	// +optional
	// +default="None"
	// +kubebuilder:validation:Enum=None;ClientIP;""
	SessionAffinity corev1.ServiceAffinity `json:"sessionAffinity,omitempty"`

	// sessionAffinityConfig tunes the affinity.
	// +optional
	SessionAffinityConfig *SessionAffinityConfig `json:"sessionAffinityConfig,omitempty"`

	NativeServiceDefaults `json:",inline"`
}

// SessionAffinityConfig tunes the session affinity.
type SessionAffinityConfig struct {
	// clientIP tunes affinity by client address.
	// +required
	ClientIP *ClientIPConfig `json:"clientIP,omitempty"`
}

// ClientIPConfig tunes affinity by client address.
type ClientIPConfig struct {
	// timeoutSeconds is how long, in seconds, a client stays with its backend after its last connection; 10800 (three
	// hours) when not given.
	// +optional
	// +default=10800
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
}

// ServicePort is one port of a service.
type ServicePort struct {
	// name of the port; needed when there are several.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	Name string `json:"name,omitempty"`

	// protocol is TCP (the default) or UDP.
	// +optional
	// +default="TCP"
	// +kubebuilder:validation:Enum=TCP;UDP;""
	Protocol corev1.Protocol `json:"protocol,omitempty"`

	// port on the virtual IP, 1 to 65535.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// targetPort is the number, or the name, of the containers' port; the same as port when not given.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string || (self >= 1 && self <= 65535)",message="targetPort must be a port number from 1 to 65535 or the name of a container port"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^([a-z0-9]|[a-z0-9][-a-z0-9]{0,13}[a-z0-9])$`
	TargetPort *intstr.IntOrString `json:"targetPort,omitempty"`

	// nodePort asks for this port on every node, with type NodePort. One is chosen when not given, or 0; it stands in
	// status.ports.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	NodePort int32 `json:"nodePort,omitempty"`
}

// MiniServiceStatus is what the system gave the service.
type MiniServiceStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// clusterIP is the virtual IP, or None.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	ClusterIP string `json:"clusterIP,omitempty"`

	// ports are the ports with the node ports that were given.
	// +optional
	// +listType=map
	// +listMapKey=port
	// +listMapKey=protocol
	// +kubebuilder:validation:MaxItems=64
	Ports []ServicePortStatus `json:"ports,omitempty"`

	// loadBalancer is accepted, empty, for the sake of manifests that kubectl generated, and not used.
	// +optional
	LoadBalancer *LoadBalancerStatus `json:"loadBalancer,omitempty"`

	// portSummary is what `kubectl get` shows under PORT(S), as in "80:30080/TCP".
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	PortSummary string `json:"portSummary,omitempty"`

	// conditions are Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// LoadBalancerStatus is always empty.
type LoadBalancerStatus struct{}

// ServicePortStatus is what the system gave one port of a service.
type ServicePortStatus struct {
	// name of the port.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// protocol of the port.
	// +optional
	// +default="TCP"
	// +kubebuilder:validation:Enum=TCP;UDP
	Protocol corev1.Protocol `json:"protocol,omitempty"`

	// port on the virtual IP.
	// +required
	Port int32 `json:"port"`

	// nodePort on every node; 0 when there is none.
	// +optional
	NodePort int32 `json:"nodePort,omitempty"`
}

// MiniService is a virtual IP, and with type NodePort a port on every node, in front of MiniPods.
//
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",optionalOldSelf=true,message="the name of a service has at most 63 lower case letters, digits and '-', begins with a letter and does not end with '-'"
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=msvc,categories={all,mini}
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=".spec.type"
// +kubebuilder:printcolumn:name="Cluster-IP",type=string,JSONPath=".status.clusterIP"
// +kubebuilder:printcolumn:name="Port(s)",type=string,JSONPath=".status.portSummary"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type=='Ready')].reason",priority=1
type MiniService struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec MiniServiceSpec `json:"spec"`

	// status is what was given.
	// +optional
	// +structType=atomic
	Status MiniServiceStatus `json:"status,omitzero"`
}

// MiniServiceList is a list of MiniServices.
// +kubebuilder:object:root=true
type MiniServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniService `json:"items"`
}
