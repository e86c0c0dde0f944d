package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MiniPodSpec is what a MiniPod runs and where it may run.
type MiniPodSpec struct {
	// containers of the MiniPod; they share one address and are started together.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Containers []Container `json:"containers"`

	// initContainers run before the containers, one after the other in this order, each to its end; one that fails is run again by
	// restartPolicy. One with restartPolicy Always is a sidecar: it goes on beside all that come after it, and ends after them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	InitContainers []Container `json:"initContainers,omitempty"`

	// volumes are directories that containers can have, and share.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Volumes []Volume `json:"volumes,omitempty"`

	// serviceAccountName is the ServiceAccount, in the same namespace, whose tokens volumes have, and whose pull secrets are used where there are no
	// imagePullSecrets: "default" when it is not given. It can be another one with a volume that has a token, or with automountServiceAccountToken, as
	// MiniPods get no token by themselves.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// serviceAccount is the older name of serviceAccountName, which goes before it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	DeprecatedServiceAccount string `json:"serviceAccount,omitempty"`

	// automountServiceAccountToken gives each container that has no volume there a directory /var/run/secrets/kubernetes.io/serviceaccount with a token of the
	// ServiceAccount, the certificate of the API server's authority, and the name of the namespace. Without it there is none.
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`

	// restartPolicy says when an ended container is started again: Always (the default), OnFailure or Never.
	// +optional
	// +default="Always"
	// +kubebuilder:validation:Enum=Always;OnFailure;Never;""
	RestartPolicy corev1.RestartPolicy `json:"restartPolicy,omitempty"`

	// terminationGracePeriodSeconds is the time between the begin of the end, which is preStop or else the stop signal, and SIGKILL, in
	// seconds; 30 when not given.
	// It can be changed at any time, also while the MiniPod is being deleted.
	// +optional
	// +default=30
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`

	// activeDeadlineSeconds is how long the MiniPod may be active on its node, in seconds, counted from status.startTime. Then its containers are ended,
	// with their grace period, and it has failed.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// nodeSelector lists labels that the node must have.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// nodeName asks for one node by name. The MiniPod waits until that node can take it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`

	// tolerations of the node's taints.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// os is linux. It changes nothing.
	// +optional
	OS *PodOS `json:"os,omitempty"`

	// imagePullSecrets name Secrets of type kubernetes.io/dockerconfigjson in the same namespace. Where there are none, those of the ServiceAccount are used
	// (status.imagePullSecrets).
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// securityContext is as whom, and with which rights, all containers run.
	// +optional
	SecurityContext *PodSecurityContext `json:"securityContext,omitempty"`

	PodPlacement      `json:",inline"`
	PodNames          `json:",inline"`
	PodNamespaces     `json:",inline"`
	NativePodDefaults `json:",inline"`
}

// LocalObjectReference names an object in the same namespace.
type LocalObjectReference struct {
	// name of the object; an empty one names nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// Toleration lets a MiniPod onto a node with a matching taint. The fields are core/v1's.
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || size(self.value) == 0",message="value must be empty when operator is Exists"
// +kubebuilder:validation:XValidation:rule="(has(self.key) && size(self.key) > 0) || (has(self.operator) && self.operator == 'Exists')",message="operator must be Exists when key is empty"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",message="effect must be NoExecute when tolerationSeconds is set"
type Toleration struct {
	// key of the taint; empty with operator Exists matches every taint.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key,omitempty"`

	// operator is Equal (the default) or Exists.
	// +optional
	// +kubebuilder:validation:Enum=Equal;Exists;""
	Operator corev1.TolerationOperator `json:"operator,omitempty"`

	// value of the taint, with operator Equal.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`

	// effect of the taint; empty matches every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute;""
	Effect corev1.TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long, in seconds, a NoExecute taint is tolerated after it appeared; for ever when not given.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// MiniPodPhase is a rough summary of where a MiniPod is in its life.
// +kubebuilder:validation:Enum=Pending;Running;Succeeded;Failed;Unknown
type MiniPodPhase string

// Phases of a MiniPod, with the meanings of a native Pod's.
const (
	PodPending   MiniPodPhase = "Pending"
	PodRunning   MiniPodPhase = "Running"
	PodSucceeded MiniPodPhase = "Succeeded"
	PodFailed    MiniPodPhase = "Failed"
	PodUnknown   MiniPodPhase = "Unknown"
)

// MiniPodStatus is what the system knows about a MiniPod. Up to the binding the scheduler writes it, from then on the
// agent of the node, and the node controller once that agent is lost.
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || (has(self.nodeName) && self.nodeName == oldSelf.nodeName)",message="a bound MiniPod stays on its node"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.nodeName) || has(self.imagePullSecrets) == has(oldSelf.imagePullSecrets) && (!has(self.imagePullSecrets) || self.imagePullSecrets == oldSelf.imagePullSecrets)",message="the imagePullSecrets of a bound MiniPod stay what they are"
type MiniPodStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// nodeName is the node that the scheduler bound the MiniPod to. Set once.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`

	// imagePullSecrets are those of the ServiceAccount when the MiniPod was bound, where the spec names none: Secrets in the same namespace. The scheduler writes
	// them with nodeName, and nobody changes them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ImagePullSecrets []LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// phase is a rough summary: Pending, Running, Succeeded, Failed or Unknown.
	// +optional
	Phase MiniPodPhase `json:"phase,omitempty"`

	// reason is why the MiniPod as a whole is in this phase: DeadlineExceeded. Empty where the containers say why.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

	// message says it in words.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// summary is what `kubectl get` shows under STATUS: the phase, or what keeps the MiniPod from it.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Summary string `json:"summary,omitempty"`

	// readyContainers is what `kubectl get` shows under READY: ready and wanted containers, as in "1/2".
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ReadyContainers string `json:"readyContainers,omitempty"`

	// restarts is the sum of the restarts of the containers, or of the init containers until they are done.
	// +optional
	Restarts int32 `json:"restarts"`

	// hostIP is the address of the node.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	HostIP string `json:"hostIP,omitempty"`

	// podIP is the address of the MiniPod.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	PodIP string `json:"podIP,omitempty"`

	// qosClass says how much of what its containers may use is set aside for them: Guaranteed is all of it, Burstable some, BestEffort nothing. The agent
	// says it, and nothing follows from it but that.
	// +optional
	// +kubebuilder:validation:Enum=Guaranteed;Burstable;BestEffort
	QOSClass corev1.PodQOSClass `json:"qosClass,omitempty"`

	// startTime is when the agent took the MiniPod up.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// startTimeline tells when the MiniPod reached the points of its first start.
	// +optional
	StartTimeline *StartTimeline `json:"startTimeline,omitempty"`

	// conditions of the MiniPod: PodScheduled, Initialized, ContainersReady, Ready, Admitted, DisruptionTarget.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// containerStatuses has one entry per container.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ContainerStatuses []ContainerStatus `json:"containerStatuses,omitempty"`

	// initContainerStatuses has one entry per init container, in the order in which they run.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	InitContainerStatuses []ContainerStatus `json:"initContainerStatuses,omitempty"`
}

// ContainerStatus is what the agent knows about one container.
type ContainerStatus struct {
	// name of the container.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// state is what the container does now.
	// +optional
	State corev1.ContainerState `json:"state,omitzero"`

	// lastState is how the previous run of the container ended.
	// +optional
	LastState corev1.ContainerState `json:"lastState,omitzero"`

	// ready tells whether the container runs and can serve; an init container, whether it ended well.
	// +optional
	Ready bool `json:"ready"`

	// started tells whether the container has started, so that what waits for it can go on.
	// +optional
	Started *bool `json:"started,omitempty"`

	// restartCount counts the starts after the first.
	// +optional
	RestartCount int32 `json:"restartCount"`

	// image is the reference the container was started from.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// imageID is the digest of that image.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	ImageID string `json:"imageID,omitempty"`

	// containerID is the runtime's id, as in "containerd://4f1c…".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ContainerID string `json:"containerID,omitempty"`

	// volumeMounts are those with recursiveReadOnly, and what became of it on the node. What else there is to know of volumeMounts stands in the spec.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	VolumeMounts []VolumeMountStatus `json:"volumeMounts,omitempty"`
}

// VolumeMountStatus is a volumeMount as it is in a container.
type VolumeMountStatus struct {
	// name of the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// mountPath is where the container sees it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	MountPath string `json:"mountPath"`

	// readOnly tells whether the container cannot write to it.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`

	// recursiveReadOnly is Enabled where what is mounted in it is read-only too, and else Disabled.
	// +optional
	// +kubebuilder:validation:Enum=Enabled;Disabled
	RecursiveReadOnly *corev1.RecursiveReadOnlyMode `json:"recursiveReadOnly,omitempty"`
}

// MiniPod is a group of containers that share a network, IPC and UTS namespace and one address.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mpo,categories={all,mini}
// +kubebuilder:selectablefield:JSONPath=".status.nodeName"
// +kubebuilder:selectablefield:JSONPath=".status.phase"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.readyContainers"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=".status.summary"
// +kubebuilder:printcolumn:name="Restarts",type=integer,JSONPath=".status.restarts"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="IP",type=string,JSONPath=".status.podIP",priority=1
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=".status.nodeName",priority=1
type MiniPod struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what to run. Only the images of containers and init containers and terminationGracePeriodSeconds can be changed
	// (config/policy/changes.yaml).
	// +required
	Spec MiniPodSpec `json:"spec"`

	// status is what the system knows.
	// +optional
	// +structType=atomic
	Status MiniPodStatus `json:"status,omitzero"`
}

// MiniPodList is a list of MiniPods.
// +kubebuilder:object:root=true
type MiniPodList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniPod `json:"items"`
}

// MiniPodTemplateSpec is the MiniPod that a controller creates.
type MiniPodTemplateSpec struct {
	// metadata of the MiniPods; its labels and annotations are used.
	// +optional
	Metadata TemplateMeta `json:"metadata,omitzero"`

	// spec of the MiniPods.
	// +required
	Spec MiniPodSpec `json:"spec"`
}

// TemplateMeta is the metadata that a template gives to what is made from it.
type TemplateMeta struct {
	// labels of the created objects.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`

	// annotations of the created objects.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`

	// name is accepted for the sake of native manifests, and not used.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// creationTimestamp is accepted, as null, for the sake of manifests that kubectl generated, and not used.
	// +optional
	CreationTimestamp *metav1.Time `json:"creationTimestamp,omitempty"` //nolint:kubeapilinter // the name is metav1's
}
