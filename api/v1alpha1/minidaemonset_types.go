package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// MiniDaemonSetSpec says what should run on every node that fits.
type MiniDaemonSetSpec struct {
	// selector finds the MiniPods; it must match the labels of the template and cannot be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="selector cannot be changed; create a new MiniDaemonSet instead"
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty selector would match every MiniPod of the namespace; give matchLabels or matchExpressions"
	Selector *metav1.LabelSelector `json:"selector"`

	// template of the MiniPods, of which each node has one that the template's nodeSelector, nodeName and tolerations let it have. Changing it starts a rollout.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.restartPolicy) || self.spec.restartPolicy in ['', 'Always']",message="restartPolicy must be Always in a MiniDaemonSet"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.activeDeadlineSeconds)",message="activeDeadlineSeconds cannot be in a template, whose MiniPods would fail and be replaced for ever; leave it out"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec.tolerations) || size(self.spec.tolerations) <= 57",message="a MiniDaemonSet can have 57 tolerations, since it adds 7 of its own to each MiniPod"
	Template MiniPodTemplateSpec `json:"template"`

	// updateStrategy says how MiniPods of an old template are replaced.
	// +optional
	// +default={}
	UpdateStrategy DaemonSetUpdateStrategy `json:"updateStrategy,omitzero"`

	// minReadySeconds is how long, in seconds, a MiniPod must be ready before it counts as available.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds int32 `json:"minReadySeconds,omitempty"`

	// revisionHistoryLimit is how many old ControllerRevisions are kept for a rollback; 10 when not given.
	// +optional
	// +default=10
	// +kubebuilder:validation:Minimum=0
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
}

// DaemonSetUpdateStrategy says how old MiniPods are replaced by new ones.
type DaemonSetUpdateStrategy struct {
	// type is RollingUpdate (the default), or OnDelete: a MiniPod is replaced when somebody deletes it.
	// +optional
	// +default="RollingUpdate"
	// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
	Type appsv1.DaemonSetUpdateStrategyType `json:"type,omitempty"`

	// rollingUpdate bounds a rolling update.
	// +optional
	RollingUpdate *RollingUpdateDaemonSet `json:"rollingUpdate,omitempty"`
}

// RollingUpdateDaemonSet bounds a rolling update.
// +kubebuilder:validation:XValidation:rule="!(has(self.maxSurge) && has(self.maxUnavailable) && (self.maxSurge == 0 || self.maxSurge == '0%') && (self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",message="maxSurge and maxUnavailable cannot both be 0: the rollout could not move"
// +kubebuilder:validation:XValidation:rule="!(has(self.maxSurge) && has(self.maxUnavailable)) || self.maxSurge == 0 || self.maxSurge == '0%' || self.maxUnavailable == 0 || self.maxUnavailable == '0%'",message="maxSurge may not be set when maxUnavailable is not 0; set maxUnavailable to 0"
type RollingUpdateDaemonSet struct {
	// maxUnavailable is on how many nodes, as a number or a percentage of those that should have a MiniPod (rounded up), it may be missing; 1
	// when not given. An old MiniPod ends before the new one starts.
	// +optional
	// +default=1
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0",message="maxUnavailable must be a number of at least 0 or a percentage from 0% to 100%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9]?[0-9])%$`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// maxSurge is on how many nodes, as a number or a percentage of those that should have a MiniPod (rounded up), a new one may run beside an old
	// one that is available; 0 when not given. The old one ends when the new one is available.
	// +optional
	// +default=0
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0",message="maxSurge must be a number of at least 0 or a percentage from 0% to 100%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[1-9]?[0-9])%$`
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
}

// MiniDaemonSetStatus is what the controller sees.
type MiniDaemonSetStatus struct {
	// currentNumberScheduled is how many nodes that should have a MiniPod have one.
	// +optional
	CurrentNumberScheduled int32 `json:"currentNumberScheduled"`

	// numberMisscheduled is how many nodes have one that should have none.
	// +optional
	NumberMisscheduled int32 `json:"numberMisscheduled"`

	// desiredNumberScheduled is how many nodes should have a MiniPod.
	// +optional
	DesiredNumberScheduled int32 `json:"desiredNumberScheduled"`

	// numberReady is how many nodes that should have a MiniPod have one that is ready.
	// +optional
	NumberReady int32 `json:"numberReady"`

	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// updatedNumberScheduled is how many nodes that should have a MiniPod have one of the current template.
	// +optional
	UpdatedNumberScheduled int32 `json:"updatedNumberScheduled,omitempty"`

	// numberAvailable is how many nodes that should have a MiniPod have one that has been ready for minReadySeconds.
	// +optional
	NumberAvailable int32 `json:"numberAvailable,omitempty"`

	// numberUnavailable is how many nodes that should have a MiniPod have none that is available.
	// +optional
	NumberUnavailable int32 `json:"numberUnavailable,omitempty"`

	// collisionCount makes the name of the next ControllerRevision differ when its hash is taken.
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// conditions are Ready, ReplicaFailure, Stalled, Reconciling.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MiniDaemonSet keeps one MiniPod on every node that fits.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mds,categories={all,mini}
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=".status.desiredNumberScheduled"
// +kubebuilder:printcolumn:name="Current",type=integer,JSONPath=".status.currentNumberScheduled"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=".status.numberReady"
// +kubebuilder:printcolumn:name="Up-to-date",type=integer,JSONPath=".status.updatedNumberScheduled"
// +kubebuilder:printcolumn:name="Available",type=integer,JSONPath=".status.numberAvailable"
// +kubebuilder:printcolumn:name="Node Selector",type=string,JSONPath=".spec.template.spec.nodeSelector"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=".spec.selector.matchLabels",priority=1
type MiniDaemonSet struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec MiniDaemonSetSpec `json:"spec"`

	// status is what the controller sees.
	// +optional
	// +structType=atomic
	Status MiniDaemonSetStatus `json:"status,omitzero"`
}

// MiniDaemonSetList is a list of MiniDaemonSets.
// +kubebuilder:object:root=true
type MiniDaemonSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniDaemonSet `json:"items"`
}
