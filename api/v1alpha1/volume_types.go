package v1alpha1

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Volume is a directory that containers of a MiniPod can have. It has one source. Fields that are not known are kept until the policy volumes.miniplane.dev
// refuses them, in words that say why: what a schema drops, or refuses itself, nobody explains.
// +kubebuilder:pruning:PreserveUnknownFields
type Volume struct {
	// name of the volume, unique in the MiniPod, by which volumeMounts refer to it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// emptyDir is a directory that is empty at first, and goes with the MiniPod.
	// +optional
	EmptyDir *EmptyDirVolumeSource `json:"emptyDir,omitempty"`

	// configMap has a file for each key of a ConfigMap, which change when it does.
	// +optional
	ConfigMap *ConfigMapVolumeSource `json:"configMap,omitempty"`

	// secret has a file for each key of a Secret, which change when it does.
	// +optional
	Secret *SecretVolumeSource `json:"secret,omitempty"`

	// downwardAPI has fields of the MiniPod in files.
	// +optional
	DownwardAPI *DownwardAPIVolumeSource `json:"downwardAPI,omitempty"`

	// projected has the files of several sources.
	// +optional
	Projected *ProjectedVolumeSource `json:"projected,omitempty"`

	// hostPath is a directory or a file of the node. Whoever may use it has the node.
	// +optional
	HostPath *HostPathVolumeSource `json:"hostPath,omitempty"`

	// image has the files of an image, which cannot be written to, and of which none can be run.
	// +optional
	Image *ImageVolumeSource `json:"image,omitempty"`
}

// ImageVolumeSource are the files of an image. It is pulled as those of containers are, when the MiniPod starts.
type ImageVolumeSource struct {
	// reference of the image, as that of a container's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reference string `json:"reference,omitempty"`

	// pullPolicy is Always, IfNotPresent or Never; Always for :latest and untagged images, else IfNotPresent, when it is not given.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never;""
	PullPolicy corev1.PullPolicy `json:"pullPolicy,omitempty"`
}

// HostPathVolumeSource is a directory or a file of the node. It stays there, as it is, when the MiniPod goes.
type HostPathVolumeSource struct {
	// path on the node.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^/`
	Path string `json:"path,omitempty"`

	// type is what has to be there: DirectoryOrCreate (a directory, made if nothing is there), Directory, FileOrCreate (a file, likewise), File, Socket, CharDevice or
	// BlockDevice. When it is not given anything may be there, and a directory is made where nothing is.
	// +optional
	// +kubebuilder:validation:Enum=DirectoryOrCreate;Directory;FileOrCreate;File;Socket;CharDevice;BlockDevice;""
	Type *corev1.HostPathType `json:"type,omitempty"`
}

// EmptyDirVolumeSource is a directory that is empty at first.
type EmptyDirVolumeSource struct {
	// medium is Memory for a file system in memory, which counts as the containers' memory; on the node's disk when it is not given.
	// +optional
	// +kubebuilder:validation:Enum="";Memory
	Medium corev1.StorageMedium `json:"medium,omitempty"`

	// sizeLimit is how much room there is with medium Memory. On disk, a MiniPod that is found to take more is evicted.
	// +optional
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
}

// KeyToPath makes a file of a key.
type KeyToPath struct {
	// key to take.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`

	// path of the file in the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`

	// mode of the file; defaultMode when it is not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	Mode *int32 `json:"mode,omitempty"`
}

// ConfigMapVolumeSource are files of a ConfigMap.
type ConfigMapVolumeSource struct {
	// name of the ConfigMap, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// items are the keys to take, and where to; all, each as a file of its name, when there are none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Items []KeyToPath `json:"items,omitempty"`

	// defaultMode of files; 0644 when it is not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`

	// optional says that the ConfigMap and its keys need not be there. Without it the MiniPod waits for them.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// SecretVolumeSource are files of a Secret.
type SecretVolumeSource struct {
	// secretName is the name of the Secret, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// items are the keys to take, and where to; all, each as a file of its name, when there are none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Items []KeyToPath `json:"items,omitempty"`

	// defaultMode of files; 0644 when it is not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`

	// optional says that the Secret and its keys need not be there. Without it the MiniPod waits for them.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// DownwardAPIVolumeSource are files of a MiniPod's fields.
type DownwardAPIVolumeSource struct {
	// items are the files.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Items []DownwardAPIVolumeFile `json:"items,omitempty"`

	// defaultMode of files; 0644 when it is not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`
}

// DownwardAPIVolumeFile is a file with a field of the MiniPod, or an amount of one of its containers.
type DownwardAPIVolumeFile struct {
	// path of the file in the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`

	// fieldRef takes a field of the MiniPod.
	// +optional
	FieldRef *FileFieldSelector `json:"fieldRef,omitempty"`

	// resourceFieldRef takes what a container, which has to be named, asks for or may use.
	// +optional
	ResourceFieldRef *ResourceFieldSelector `json:"resourceFieldRef,omitempty"`

	// mode of the file; defaultMode when it is not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	Mode *int32 `json:"mode,omitempty"`
}

// FileFieldSelector names a field of the MiniPod that can be in a file.
type FileFieldSelector struct {
	// apiVersion is v1, whose names of fields these are.
	// +optional
	// +kubebuilder:validation:Enum=v1
	APIVersion string `json:"apiVersion,omitempty"`

	// fieldPath is the field: metadata.name, metadata.namespace, metadata.uid, metadata.labels or metadata.annotations (all of them, or one as
	// in metadata.labels['KEY']).
	// +required
	// +kubebuilder:validation:MaxLength=400
	// +kubebuilder:validation:Pattern=`^metadata\.(name|namespace|uid|(labels|annotations)(\['[^']{1,317}'\])?)$`
	FieldPath string `json:"fieldPath,omitempty"`
}

// ProjectedVolumeSource are the files of several sources.
type ProjectedVolumeSource struct {
	// sources of the files. Of two files of one path the later one counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Sources []VolumeProjection `json:"sources,omitempty"`

	// defaultMode of files; 0644 when it is not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`
}

// VolumeProjection is one source of files. Fields that are not known are kept until the policy volumes.miniplane.dev refuses them, as those of a volume.
// +kubebuilder:pruning:PreserveUnknownFields
type VolumeProjection struct {
	// configMap has a file for each key of a ConfigMap.
	// +optional
	ConfigMap *ConfigMapProjection `json:"configMap,omitempty"`

	// secret has a file for each key of a Secret.
	// +optional
	Secret *SecretProjection `json:"secret,omitempty"`

	// downwardAPI has fields of the MiniPod in files.
	// +optional
	DownwardAPI *DownwardAPIProjection `json:"downwardAPI,omitempty"`

	// serviceAccountToken has a token of the MiniPod's ServiceAccount in a file, and a new one before that expires.
	// +optional
	ServiceAccountToken *ServiceAccountTokenProjection `json:"serviceAccountToken,omitempty"`
}

// ServiceAccountTokenProjection is a file with a token of the MiniPod's ServiceAccount.
type ServiceAccountTokenProjection struct {
	// audience that the token is for; the API server when it is not given.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Audience string `json:"audience,omitempty"`

	// expirationSeconds is for how long a token is good, in seconds: an hour when it is not given, ten minutes at least, a day at most. Each is
	// replaced when two to four fifths of that are over.
	// +optional
	// +kubebuilder:validation:Minimum=600
	// +kubebuilder:validation:Maximum=86400
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty"`

	// path of the file in the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
}

// ConfigMapProjection are files of a ConfigMap.
type ConfigMapProjection struct {
	// name of the ConfigMap, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// items are the keys to take, and where to; all when there are none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Items []KeyToPath `json:"items,omitempty"`

	// optional says that the ConfigMap and its keys need not be there.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// SecretProjection are files of a Secret.
type SecretProjection struct {
	// name of the Secret, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// items are the keys to take, and where to; all when there are none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Items []KeyToPath `json:"items,omitempty"`

	// optional says that the Secret and its keys need not be there.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// DownwardAPIProjection are files of a MiniPod's fields.
type DownwardAPIProjection struct {
	// items are the files.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Items []DownwardAPIVolumeFile `json:"items,omitempty"`
}

// VolumeMount is where a container has a volume.
type VolumeMount struct {
	// name of the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// mountPath is where the container sees it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^[^:]+$`
	MountPath string `json:"mountPath"`

	// readOnly keeps the container from writing to it. Files of ConfigMaps, Secrets and fields never can be written to.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`

	// subPath is a path in the volume, of which alone the container has a view. It is made, as a directory, if it is not there. What changes
	// in a ConfigMap or a Secret later is not seen through it.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	SubPath string `json:"subPath,omitempty"`

	// subPathExpr is a subPath in which $(NAME) is replaced by the value of that environment variable.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	SubPathExpr string `json:"subPathExpr,omitempty"`

	// mountPropagation says which mounts that are made later are seen: with None, which is the default, none, with HostToContainer those that are made on the node in the volume,
	// and with Bidirectional also those that a container makes in it, which has to be privileged, on the node.
	// +optional
	// +kubebuilder:validation:Enum=None;HostToContainer;Bidirectional
	MountPropagation *corev1.MountPropagationMode `json:"mountPropagation,omitempty"`

	// recursiveReadOnly says whether readOnly, which has to be true, is so for what is mounted in the volume as well: Disabled, which is the default; IfPossible, as far as the
	// node's kernel can do that; Enabled.
	// +optional
	// +kubebuilder:validation:Enum=Disabled;IfPossible;Enabled
	RecursiveReadOnly *corev1.RecursiveReadOnlyMode `json:"recursiveReadOnly,omitempty"`
}

// later tells whether the volume is of a kind, or has a limit, that came after the first ones.
func (v *Volume) later() bool {
	return v.HostPath != nil || v.Image != nil || v.EmptyDir != nil && v.EmptyDir.Medium == "" && v.EmptyDir.SizeLimit != nil
}

// later tells whether the volume is mounted in a way that came after the first ones.
func (m *VolumeMount) later() bool {
	return m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone ||
		m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled
}

// HasTokens tells whether tokens of a ServiceAccount are among the files of the volume.
func (v *Volume) HasTokens() bool {
	if v.Projected == nil {
		return false
	}
	return slices.ContainsFunc(v.Projected.Sources, func(s VolumeProjection) bool { return s.ServiceAccountToken != nil })
}
