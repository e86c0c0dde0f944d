package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// Container is one program of a MiniPod, in core/v1's words.
type Container struct {
	// name of the container, unique in its MiniPod. It cannot be changed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// image is the reference of the image, for example "nginx:1.27". Changing it restarts the container in place.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`

	// imagePullPolicy is one of Always, IfNotPresent and Never. Where it is not given, images tagged :latest, or not
	// tagged, are pulled Always, others IfNotPresent.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never;""
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// restartPolicy goes before the MiniPod's. Always makes an init container a sidecar. Of the others, init containers are started again until they have ended
	// well (OnFailure) or not at all (Never).
	// +optional
	// +kubebuilder:validation:Enum=Always;OnFailure;Never
	RestartPolicy corev1.ContainerRestartPolicy `json:"restartPolicy,omitempty"`

	// restartPolicyRules say which exit codes have the container started again where restartPolicy, which must be given, would not. The first that fits counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	RestartPolicyRules []ContainerRestartRule `json:"restartPolicyRules,omitempty"`

	// command replaces the entry point of the image. $(NAME) is replaced by the value of that environment variable.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=65536
	Command []string `json:"command,omitempty"`

	// args replace the arguments of the image. $(NAME) is replaced by the value of that environment variable.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=65536
	Args []string `json:"args,omitempty"`

	// workingDir replaces the working directory of the image.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	WorkingDir string `json:"workingDir,omitempty"`

	// ports tell which ports the container listens on. A MiniService can name them; a hostPort is opened on the node. One number may have
	// several names.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Ports []ContainerPort `json:"ports,omitempty"`

	// envFrom sets a variable for each key of ConfigMaps and Secrets, before env, which goes before them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	EnvFrom []EnvFromSource `json:"envFrom,omitempty"`

	// env are environment variables, set in this order; of one that is given twice, the last counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Env []EnvVar `json:"env,omitempty"`

	// volumeMounts are where the container has volumes of the MiniPod.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=64
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`

	// resources are what the container asks for and may use.
	// +optional
	Resources ResourceRequirements `json:"resources,omitzero"`

	// livenessProbe tells whether the container has to be ended and started again. It begins when the container has started.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.successThreshold) || self.successThreshold in [0, 1]",message="successThreshold of a livenessProbe must be 1"
	LivenessProbe *Probe `json:"livenessProbe,omitempty"`

	// readinessProbe tells whether the container can serve. MiniServices send no connections to a MiniPod while a container of it cannot.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.terminationGracePeriodSeconds)",message="terminationGracePeriodSeconds cannot be set for a readinessProbe, which ends nothing"
	ReadinessProbe *Probe `json:"readinessProbe,omitempty"`

	// startupProbe tells whether the container has started. The other probes wait for it, and so do the containers after a sidecar. One
	// that fails ends the container as a livenessProbe does.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.successThreshold) || self.successThreshold in [0, 1]",message="successThreshold of a startupProbe must be 1"
	StartupProbe *Probe `json:"startupProbe,omitempty"`

	// lifecycle is what happens at the begin and at the end of the container. An init container that is no sidecar has none.
	// +optional
	Lifecycle *Lifecycle `json:"lifecycle,omitempty"`

	// securityContext is as whom, and with which rights, the container runs. It goes before the MiniPod's.
	// +optional
	SecurityContext *SecurityContext `json:"securityContext,omitempty"`

	// terminationMessagePath is the file in which the container may say, before it ends, why: what is in it then is the message of its
	// status, 4096 bytes of its end at most. /dev/termination-log when not given.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^(/.*)?$`
	TerminationMessagePath string `json:"terminationMessagePath,omitempty"`

	// terminationMessagePolicy is File (the default), or FallbackToLogsOnError: then the end of the log of a container that failed and wrote
	// nothing there is its message.
	// +optional
	// +kubebuilder:validation:Enum=File;FallbackToLogsOnError;""
	TerminationMessagePolicy corev1.TerminationMessagePolicy `json:"terminationMessagePolicy,omitempty"`

	NativeContainerDefaults `json:",inline"`
}

// ContainerPort is a port that a container listens on.
type ContainerPort struct {
	// name of the port, unique in the MiniPod, by which a MiniService can refer to it.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	Name string `json:"name,omitempty"`

	// containerPort is the port number in the MiniPod, 1 to 65535.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	ContainerPort int32 `json:"containerPort"`

	// protocol is TCP (the default) or UDP.
	// +optional
	// +default="TCP"
	// +kubebuilder:validation:Enum=TCP;UDP;""
	Protocol corev1.Protocol `json:"protocol,omitempty"`

	// hostPort opens this port on the node, on all its addresses, for the container. One MiniPod per node can have it. 0 is none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	HostPort int32 `json:"hostPort,omitempty"`

	// hostIP says nothing: a host port is opened on all addresses of the node.
	// +optional
	// +kubebuilder:validation:Enum="";"0.0.0.0"
	HostIP string `json:"hostIP,omitempty"`
}

// ResourceRequirements are what a container asks for and may use.
type ResourceRequirements struct {
	// limits for cpu and memory that the container may not exceed: cpu is throttled, memory ends it. Amounts as in a native
	// Pod: 500m, 0.5, 64Mi.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	Limits corev1.ResourceList `json:"limits,omitempty"`

	// requests of cpu and memory are set aside for the container on its node and charged to the namespace's MiniQuota. A request that is
	// not given equals the limit.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	Requests corev1.ResourceList `json:"requests,omitempty"`
}
