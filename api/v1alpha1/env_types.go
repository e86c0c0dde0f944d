package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// EnvVar is one environment variable. Give either value or valueFrom.
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && size(self.value) > 0 && has(self.valueFrom))",message="set either value or valueFrom, not both"
type EnvVar struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[^=]+$`
	Name string `json:"name"`

	// value of the variable. $(NAME) is replaced by the value of a variable above it.
	// +optional
	// +kubebuilder:validation:MaxLength=131072
	Value string `json:"value,omitempty"`

	// valueFrom takes the value from somewhere else.
	// +optional
	ValueFrom *EnvVarSource `json:"valueFrom,omitempty"`
}

// EnvVarSource is where the value of an environment variable comes from: one of these.
type EnvVarSource struct {
	// fieldRef takes a field of the MiniPod.
	// +optional
	FieldRef *ObjectFieldSelector `json:"fieldRef,omitempty"`

	// resourceFieldRef takes what a container asks for, or may use.
	// +optional
	ResourceFieldRef *ResourceFieldSelector `json:"resourceFieldRef,omitempty"`

	// configMapKeyRef takes the value of a key of a ConfigMap.
	// +optional
	ConfigMapKeyRef *ConfigMapKeySelector `json:"configMapKeyRef,omitempty"`

	// secretKeyRef takes the value of a key of a Secret.
	// +optional
	SecretKeyRef *SecretKeySelector `json:"secretKeyRef,omitempty"`

	// fileKeyRef takes the value of a key in a file that another container of the MiniPod has written.
	// +optional
	FileKeyRef *FileKeySelector `json:"fileKeyRef,omitempty"`
}

// ObjectFieldSelector names a field of the MiniPod.
type ObjectFieldSelector struct {
	// apiVersion is v1, whose names of fields these are.
	// +optional
	// +kubebuilder:validation:Enum=v1
	APIVersion string `json:"apiVersion,omitempty"`

	// fieldPath is the field: metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'],
	// spec.nodeName, status.hostIP, status.hostIPs, status.podIP or status.podIPs.
	// +required
	// +kubebuilder:validation:MaxLength=400
	// +kubebuilder:validation:Pattern=`^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']{1,317}'\]|spec\.nodeName|status\.(hostIP|hostIPs|podIP|podIPs))$`
	FieldPath string `json:"fieldPath,omitempty"`
}

// ResourceFieldSelector names an amount of a container.
type ResourceFieldSelector struct {
	// containerName is whose; the container's own when it is not given.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	ContainerName string `json:"containerName,omitempty"`

	// resource is the amount. A limit that is not given is all of the node's.
	// +required
	// +kubebuilder:validation:Enum=limits.cpu;limits.memory;requests.cpu;requests.memory
	Resource string `json:"resource,omitempty"`

	// divisor is the unit that the amount is counted in, rounded up: 1 (the default), 1m, 1Mi and so on.
	// +optional
	Divisor resource.Quantity `json:"divisor,omitzero"`
}

// ConfigMapKeySelector names a key of a ConfigMap in the same namespace.
type ConfigMapKeySelector struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is which value to take.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`

	// optional leaves the variable out where there is no such ConfigMap or key. Without it the container waits.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// SecretKeySelector names a key of a Secret in the same namespace.
type SecretKeySelector struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is which value to take.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`

	// optional leaves the variable out where there is no such Secret or key. Without it the container waits.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// FileKeySelector names a key in a file of an emptyDir of the MiniPod, which the container itself need not mount. Its lines are KEY='value'; what is
// between the quotes may have several lines.
type FileKeySelector struct {
	// volumeName is the emptyDir that the file is in.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	VolumeName string `json:"volumeName,omitempty"`

	// path of the file in the volume: relative, and without "..". A file has at most 64 KiB.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// key is which value to take.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[ -<>-~]+$`
	Key string `json:"key,omitempty"`

	// optional leaves the variable out where there is no such file or key, or where the value is empty. Without it the container waits.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// EnvFromSource is a ConfigMap or a Secret whose keys become variables.
type EnvFromSource struct {
	// prefix is put before each key.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^=]*$`
	Prefix string `json:"prefix,omitempty"`

	// configMapRef is the ConfigMap.
	// +optional
	ConfigMapRef *ConfigMapEnvSource `json:"configMapRef,omitempty"`

	// secretRef is the Secret.
	// +optional
	SecretRef *SecretEnvSource `json:"secretRef,omitempty"`
}

// ConfigMapEnvSource names a ConfigMap in the same namespace.
type ConfigMapEnvSource struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// optional says that the ConfigMap need not be there. Without it the container waits for it.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// SecretEnvSource names a Secret in the same namespace.
type SecretEnvSource struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// optional says that the Secret need not be there. Without it the container waits for it.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}
