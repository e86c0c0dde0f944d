package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Probe asks a container again and again how it is, in core/v1's words. Exactly one of exec, httpGet, tcpSocket and grpc says how. A number
// that is 0 is one that is not given.
// +kubebuilder:validation:XValidation:rule="[has(self.exec), has(self.httpGet), has(self.tcpSocket), has(self.grpc)].exists_one(x, x)",message="a probe needs exactly one of exec, httpGet, tcpSocket and grpc"
// +kubebuilder:validation:XValidation:rule="!has(self.periodMilliseconds) || self.periodMilliseconds == 0 || !has(self.periodSeconds) || self.periodSeconds == 0",message="set either periodSeconds or periodMilliseconds, not both"
type Probe struct {
	// exec runs a command in the container, which succeeds with exit code 0.
	// +optional
	Exec *ExecAction `json:"exec,omitempty"`

	// httpGet asks by HTTP; an answer from 200 to 399 succeeds.
	// +optional
	HTTPGet *HTTPGetAction `json:"httpGet,omitempty"`

	// tcpSocket opens a connection and closes it.
	// +optional
	TCPSocket *TCPSocketAction `json:"tcpSocket,omitempty"`

	// grpc asks by gRPC's health protocol; SERVING succeeds.
	// +optional
	GRPC *GRPCAction `json:"grpc,omitempty"`

	// initialDelaySeconds is how long after the container's start it is first asked; 0 when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`

	// timeoutSeconds is after how long no answer is a failure; 1 when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// periodSeconds is the time between two questions; 10 when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	PeriodSeconds int32 `json:"periodSeconds,omitempty"`

	// periodMilliseconds is the same for those who need it shorter than a second, 100 at least. A native Pod has no such field.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 100",message="periodMilliseconds must be at least 100"
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=60000
	PeriodMilliseconds int32 `json:"periodMilliseconds,omitempty"`

	// successThreshold is how many successes in a row make the container ready after it was not; 1 when not given, and always for
	// livenessProbe and startupProbe.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	SuccessThreshold int32 `json:"successThreshold,omitempty"`

	// failureThreshold is how many failures in a row are believed; 3 when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	FailureThreshold int32 `json:"failureThreshold,omitempty"`

	// terminationGracePeriodSeconds is the time between preStop, or else the stop signal, and SIGKILL for a container that is ended because this probe failed; the
	// MiniPod's when not given. A readinessProbe ends nothing and has none.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// ExecAction is a command in the container. It is not a shell's.
type ExecAction struct {
	// command and its arguments, run in the container's working directory.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=65536
	Command []string `json:"command,omitempty"`
}

// HTTPGetAction is a GET.
type HTTPGetAction struct {
	// path to ask for; / when not given.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// port is the number, or the name of one of the container's ports.
	// +required
	// +kubebuilder:validation:XValidation:rule="type(self) == string || (self >= 1 && self <= 65535)",message="port must be a port number from 1 to 65535 or the name of a container port"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^([a-z0-9]|[a-z0-9][-a-z0-9]{0,13}[a-z0-9])$`
	Port intstr.IntOrString `json:"port"`

	// host to ask; the MiniPod's address when not given. Pod Security's level baseline refuses it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`

	// scheme is HTTP (the default) or HTTPS, where the certificate is not verified.
	// +optional
	// +kubebuilder:validation:Enum=HTTP;HTTPS
	Scheme corev1.URIScheme `json:"scheme,omitempty"`

	// httpHeaders are added to the request; the last of a name counts. Host replaces that of the request.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	HTTPHeaders []HTTPHeader `json:"httpHeaders,omitempty"`
}

// HTTPHeader is a header of a request.
type HTTPHeader struct {
	// name of the header.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[-A-Za-z0-9]+$`
	Name string `json:"name"`

	// value of the header.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
}

// TCPSocketAction is a connection that is opened and closed.
type TCPSocketAction struct {
	// port is the number, or the name of one of the container's ports.
	// +required
	// +kubebuilder:validation:XValidation:rule="type(self) == string || (self >= 1 && self <= 65535)",message="port must be a port number from 1 to 65535 or the name of a container port"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^([a-z0-9]|[a-z0-9][-a-z0-9]{0,13}[a-z0-9])$`
	Port intstr.IntOrString `json:"port"`

	// host to connect to; the MiniPod's address when not given. Pod Security's level baseline refuses it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`
}

// GRPCAction asks a service by gRPC's health protocol, without TLS.
type GRPCAction struct {
	// port is the number of the port.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// service to ask about; that of the whole server when empty.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Service *string `json:"service,omitempty"`
}
