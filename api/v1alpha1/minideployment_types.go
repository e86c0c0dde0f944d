package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// MiniDeploymentSpec says what should run and how changes are rolled out.
type MiniDeploymentSpec struct {
	// replicas is the wanted number of MiniPods; 1 when not given.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Replicas *int32 `json:"replicas,omitempty"`

	// selector finds the MiniPods; it must match the labels of the template and cannot be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="selector cannot be changed; create a new MiniDeployment instead"
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty selector would match every MiniPod of the namespace; give matchLabels or matchExpressions"
	Selector *metav1.LabelSelector `json:"selector"`

	// template of the MiniPods. Changing it starts a rollout.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.restartPolicy) || self.spec.restartPolicy in ['', 'Always']",message="restartPolicy must be Always in a MiniDeployment"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.activeDeadlineSeconds)",message="activeDeadlineSeconds cannot be in a template, whose MiniPods would fail and be replaced for ever; leave it out"
	Template MiniPodTemplateSpec `json:"template"`

	// strategy of a rollout.
	// +optional
	// +default={}
	Strategy DeploymentStrategy `json:"strategy,omitzero"`

	// minReadySeconds is how long, in seconds, a MiniPod must be ready before it counts as available.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds int32 `json:"minReadySeconds,omitempty"`

	// revisionHistoryLimit is how many old MiniReplicaSets are kept for a rollback; 10 when not given.
	// +optional
	// +default=10
	// +kubebuilder:validation:Minimum=0
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`

	// paused stops rollouts; scaling goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// progressDeadlineSeconds is how long, in seconds, a rollout may stand still before it counts as failed; 600 when not
	// given. It must be more than minReadySeconds.
	// +optional
	// +default=600
	// +kubebuilder:validation:Minimum=1
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// rollbackTo brings back the template of an earlier revision, which is used instead of spec.template for as long as
	// this is set. Remove it to go on with spec.template.
	// +optional
	RollbackTo *RollbackConfig `json:"rollbackTo,omitempty"`
}

// RollbackConfig names the revision to bring back.
type RollbackConfig struct {
	// revision to bring back: a number from the annotation miniplane.dev/revision, or miniplane.dev/revision-history, of a
	// MiniReplicaSet that is still kept.
	// +required
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision"`
}

// DeploymentStrategy says how old MiniPods are replaced by new ones.
// +kubebuilder:validation:XValidation:rule="!has(self.rollingUpdate) || self.type == 'RollingUpdate'",message="rollingUpdate can be set only when type is RollingUpdate"
type DeploymentStrategy struct {
	// type is RollingUpdate (the default) or Recreate.
	// +optional
	// +default="RollingUpdate"
	// +kubebuilder:validation:Enum=RollingUpdate;Recreate
	Type appsv1.DeploymentStrategyType `json:"type,omitempty"`

	// rollingUpdate bounds a rolling update.
	// +optional
	RollingUpdate *RollingUpdateDeployment `json:"rollingUpdate,omitempty"`
}

// RollingUpdateDeployment bounds a rolling update.
// +kubebuilder:validation:XValidation:rule="!(has(self.maxSurge) && has(self.maxUnavailable) && (self.maxSurge == 0 || self.maxSurge == '0%') && (self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",message="maxSurge and maxUnavailable cannot both be 0: the rollout could not move"
type RollingUpdateDeployment struct {
	// maxUnavailable is how many MiniPods, as a number or a percentage of replicas (rounded down), may be missing; 25% when not given.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0",message="maxUnavailable must be a number of at least 0 or a percentage from 0% to 100%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9]?[0-9])%$`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// maxSurge is how many MiniPods, as a number or a percentage of replicas (rounded up), may be too many; 25% when not given.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0",message="maxSurge must be a number of at least 0 or a percentage such as 25%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^[0-9]{1,4}%$`
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
}

// MiniDeploymentStatus is what the controller sees.
type MiniDeploymentStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is the number of MiniPods of all revisions.
	// +optional
	Replicas int32 `json:"replicas"`

	// updatedReplicas have the current template.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas,omitempty"`

	// readyReplicas are ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`

	// availableReplicas have been ready for minReadySeconds.
	// +optional
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`

	// unavailableReplicas are still missing.
	// +optional
	UnavailableReplicas int32 `json:"unavailableReplicas,omitempty"`

	// readySummary is what `kubectl get` shows under READY: ready and wanted MiniPods, as in "2/3".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	ReadySummary string `json:"readySummary,omitempty"`

	// collisionCount makes the name of the next MiniReplicaSet differ when its hash is taken.
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// selector is spec.selector in the form that the scale subresource, and so autoscalers, need.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Selector string `json:"selector,omitempty"`

	// lastProgressTime is when the rollout last moved; progressDeadlineSeconds count from here.
	// +optional
	LastProgressTime *metav1.Time `json:"lastProgressTime,omitempty"`

	// conditions are Ready, Available, Progressing, ReplicaFailure, Stalled, Reconciling.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MiniDeployment keeps MiniPods running and rolls out changes of their template.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mdeploy,categories={all,mini}
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.readySummary"
// +kubebuilder:printcolumn:name="Up-to-date",type=integer,JSONPath=".status.updatedReplicas"
// +kubebuilder:printcolumn:name="Available",type=integer,JSONPath=".status.availableReplicas"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=".status.conditions[?(@.type=='Progressing')].reason",priority=1
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=".status.selector",priority=1
type MiniDeployment struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec MiniDeploymentSpec `json:"spec"`

	// status is what the controller sees.
	// +optional
	// +structType=atomic
	Status MiniDeploymentStatus `json:"status,omitzero"`
}

// MiniDeploymentList is a list of MiniDeployments.
// +kubebuilder:object:root=true
type MiniDeploymentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniDeployment `json:"items"`
}
