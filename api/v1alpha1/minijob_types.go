package v1alpha1

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MiniJobSpec says how often the MiniPods of which template should run to their end. The fields are batch/v1's.
// +kubebuilder:validation:XValidation:rule="!has(self.maxFailedIndexes) || has(self.backoffLimitPerIndex)",message="backoffLimitPerIndex is required when maxFailedIndexes is set"
// +kubebuilder:validation:XValidation:rule="self.completionMode != 'Indexed' || has(self.completions)",message="completions is required when completionMode is Indexed"
// +kubebuilder:validation:XValidation:rule="self.completionMode != 'Indexed' || !has(self.parallelism) || self.parallelism <= 100000",message="parallelism must be at most 100000 when completionMode is Indexed"
// +kubebuilder:validation:XValidation:rule="self.completionMode == 'Indexed' || !has(self.backoffLimitPerIndex)",message="backoffLimitPerIndex can be set only when completionMode is Indexed"
// +kubebuilder:validation:XValidation:rule="self.completionMode == 'Indexed' || !has(self.successPolicy)",message="successPolicy can be set only when completionMode is Indexed"
// +kubebuilder:validation:XValidation:rule="!has(self.maxFailedIndexes) || !has(self.completions) || self.maxFailedIndexes <= self.completions",message="maxFailedIndexes must be at most completions"
// +kubebuilder:validation:XValidation:rule="!has(self.backoffLimitPerIndex) || !has(self.completions) || self.completions <= 100000 || (has(self.maxFailedIndexes) && self.maxFailedIndexes <= 10000 && (!has(self.parallelism) || self.parallelism <= 10000))",message="with backoffLimitPerIndex and completions above 100000, maxFailedIndexes must be set, and it and parallelism be at most 10000"
// +kubebuilder:validation:XValidation:rule="!has(self.podFailurePolicy) || (has(self.template.spec.restartPolicy) && self.template.spec.restartPolicy == 'Never')",message="restartPolicy of the template must be Never when podFailurePolicy is set"
// +kubebuilder:validation:XValidation:rule="!has(self.podFailurePolicy) || !has(self.podReplacementPolicy) || self.podReplacementPolicy == 'Failed'",message="podReplacementPolicy must be Failed when podFailurePolicy is set"
// +kubebuilder:validation:XValidation:rule="!has(self.podFailurePolicy) || has(self.backoffLimitPerIndex) || self.podFailurePolicy.rules.all(r, r.action != 'FailIndex')",message="the action FailIndex can be used only when backoffLimitPerIndex is set"
// +kubebuilder:validation:XValidation:rule="!has(self.podFailurePolicy) || self.podFailurePolicy.rules.all(r, !has(r.onExitCodes) || !has(r.onExitCodes.containerName) || self.template.spec.containers.exists(c, c.name == r.onExitCodes.containerName) || (has(self.template.spec.initContainers) && self.template.spec.initContainers.exists(c, c.name == r.onExitCodes.containerName)))",message="containerName of onExitCodes must be a container or an init container of the template"
// +kubebuilder:validation:XValidation:rule="!has(self.successPolicy) || !has(self.completions) || self.successPolicy.rules.all(r, !has(r.succeededCount) || r.succeededCount <= self.completions)",message="succeededCount of successPolicy must be at most completions"
// +kubebuilder:validation:XValidation:rule="(has(self.manualSelector) && self.manualSelector) == has(self.selector)",message="selector is given with manualSelector: true, and made by the controller without it; leave both out, or give both"
// +kubebuilder:validation:XValidation:rule="self.completionMode == oldSelf.completionMode",message="completionMode cannot be changed"
// +kubebuilder:validation:XValidation:rule="has(self.completions) == has(oldSelf.completions) && (!has(self.completions) || self.completions == oldSelf.completions || (self.completionMode == 'Indexed' && has(self.parallelism) && self.completions == self.parallelism))",message="completions cannot be changed, except together with parallelism and to the same number when completionMode is Indexed"
// +kubebuilder:validation:XValidation:rule="has(self.selector) == has(oldSelf.selector) && (!has(self.selector) || self.selector == oldSelf.selector)",message="selector cannot be changed; create a new MiniJob instead"
// +kubebuilder:validation:XValidation:rule="has(self.podFailurePolicy) == has(oldSelf.podFailurePolicy) && (!has(self.podFailurePolicy) || self.podFailurePolicy == oldSelf.podFailurePolicy)",message="podFailurePolicy cannot be changed"
// +kubebuilder:validation:XValidation:rule="has(self.successPolicy) == has(oldSelf.successPolicy) && (!has(self.successPolicy) || self.successPolicy == oldSelf.successPolicy)",message="successPolicy cannot be changed"
// +kubebuilder:validation:XValidation:rule="has(self.backoffLimitPerIndex) == has(oldSelf.backoffLimitPerIndex) && (!has(self.backoffLimitPerIndex) || self.backoffLimitPerIndex == oldSelf.backoffLimitPerIndex)",message="backoffLimitPerIndex cannot be changed"
// +kubebuilder:validation:XValidation:rule="has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy == oldSelf.managedBy)",message="managedBy cannot be changed"
type MiniJobSpec struct {
	// parallelism is how many MiniPods run at a time at most; 1 when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Parallelism *int32 `json:"parallelism,omitempty"`

	// completions is how many MiniPods have to end well. When it is not given and parallelism is, one that ends well is enough, and the others may
	// end as they like; when neither is given, it is 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Completions *int32 `json:"completions,omitempty"`

	// completionMode is NonIndexed (the default), where the MiniPods are alike, or Indexed, where each of the numbers from 0 to completions - 1
	// has to be done once.
	// +optional
	// +default="NonIndexed"
	// +kubebuilder:validation:Enum=NonIndexed;Indexed
	CompletionMode batchv1.CompletionMode `json:"completionMode,omitempty"`

	// backoffLimit is how many MiniPods may fail before the MiniJob has; 6 when not given, and without end with backoffLimitPerIndex. With
	// restartPolicy OnFailure, restarts of containers count.
	// +optional
	// +kubebuilder:validation:Minimum=0
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// backoffLimitPerIndex is how often each index may fail and be tried again before it has failed for good.
	// +optional
	// +kubebuilder:validation:Minimum=0
	BackoffLimitPerIndex *int32 `json:"backoffLimitPerIndex,omitempty"`

	// maxFailedIndexes is how many indexes may fail before the MiniJob has, without waiting for the others.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MaxFailedIndexes *int32 `json:"maxFailedIndexes,omitempty"`

	// podFailurePolicy says what a failure means, by exit codes and conditions. Without it every failure counts towards backoffLimit.
	// +optional
	PodFailurePolicy *PodFailurePolicy `json:"podFailurePolicy,omitempty"`

	// successPolicy says which indexes are enough. Without it all are needed.
	// +optional
	SuccessPolicy *SuccessPolicy `json:"successPolicy,omitempty"`

	// activeDeadlineSeconds is how long the MiniJob may be active, in seconds from status.startTime. Then its MiniPods are ended, and it has failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// ttlSecondsAfterFinished is how long a MiniJob that is complete or has failed is kept, in seconds, before it is deleted with its MiniPods;
	// for ever when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// suspend ends all MiniPods that run, without counting them, and makes none until it is false again. The deadline counts anew from then on.
	// +optional
	// +default=false
	Suspend *bool `json:"suspend,omitempty"`

	// podReplacementPolicy is when a MiniPod is replaced that is being deleted: TerminatingOrFailed, at once (the default), or Failed, when it has ended
	// (the default, and the only way, with podFailurePolicy).
	// +optional
	// +kubebuilder:validation:Enum=TerminatingOrFailed;Failed
	PodReplacementPolicy *batchv1.PodReplacementPolicy `json:"podReplacementPolicy,omitempty"`

	// managedBy names the controller that works on the MiniJob. With any but kubernetes.io/job-controller and miniplane.dev/job-controller,
	// miniplane leaves it alone.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/_.~%:@!$&'()*+,;=-]+$`
	ManagedBy *string `json:"managedBy,omitempty"`

	// manualSelector says that selector is given, and that the labels of the template are as they should be. It is for those who know why.
	// +optional
	ManualSelector *bool `json:"manualSelector,omitempty"`

	// selector finds the MiniPods, with manualSelector; it must match the labels of the template. Without it the MiniPods are found by the labels
	// that the controller gives them.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty selector would match every MiniPod of the namespace; give matchLabels or matchExpressions"
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// template of the MiniPods. It cannot be changed, but for labels, annotations, nodeSelector, affinity, tolerations and resources while the MiniJob is
	// suspended and nothing of it runs (config/policy/changes.yaml).
	// +required
	// +kubebuilder:validation:XValidation:rule="has(self.spec.restartPolicy) && self.spec.restartPolicy in ['OnFailure', 'Never']",message="restartPolicy must be OnFailure or Never in a MiniJob"
	Template MiniPodTemplateSpec `json:"template"`
}

// PodFailurePolicy says what the failure of a MiniPod means.
type PodFailurePolicy struct {
	// rules are tried in this order; the first that matches a failed MiniPod decides. Where none does, the failure counts.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Rules []PodFailurePolicyRule `json:"rules"`
}

// PodFailurePolicyRule is what some failures mean.
// +kubebuilder:validation:XValidation:rule="has(self.onExitCodes) != (has(self.onPodConditions) && size(self.onPodConditions) > 0)",message="a rule of podFailurePolicy must have one of onExitCodes and onPodConditions"
type PodFailurePolicyRule struct {
	// action is FailJob: the MiniJob has failed; FailIndex: its index has; Ignore: the MiniPod is replaced and does not count; or Count: it counts
	// towards backoffLimit.
	// +required
	// +kubebuilder:validation:Enum=FailJob;FailIndex;Ignore;Count
	Action batchv1.PodFailurePolicyAction `json:"action"`

	// onExitCodes matches by how a container ended.
	// +optional
	OnExitCodes *PodFailurePolicyOnExitCodes `json:"onExitCodes,omitempty"`

	// onPodConditions matches by the conditions of the MiniPod: any of these.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	OnPodConditions []PodFailurePolicyOnPodCondition `json:"onPodConditions,omitempty"`
}

// PodFailurePolicyOnExitCodes matches containers that ended with an exit code other than 0.
// +kubebuilder:validation:XValidation:rule="self.operator != 'In' || !(0 in self.values)",message="values of onExitCodes cannot have 0 with the operator In: it is no failure"
type PodFailurePolicyOnExitCodes struct {
	// containerName is the container that is looked at; all are when it is not given.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	ContainerName *string `json:"containerName,omitempty"`

	// operator is In: the exit code is one of values; or NotIn: it is none of them.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn
	Operator batchv1.PodFailurePolicyOnExitCodesOperator `json:"operator"`

	// values are exit codes, in ascending order.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=255
	// +kubebuilder:validation:XValidation:rule="self.isSorted()",message="values of onExitCodes must be in ascending order"
	Values []int32 `json:"values"`
}

// PodFailurePolicyOnPodCondition matches a condition of the MiniPod.
type PodFailurePolicyOnPodCondition struct {
	// type of the condition, for example DisruptionTarget.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`
	Type string `json:"type"`

	// status of the condition.
	// +required
	// +kubebuilder:validation:Enum="True";"False";Unknown
	Status corev1.ConditionStatus `json:"status"`
}

// SuccessPolicy says when an Indexed MiniJob has done enough.
type SuccessPolicy struct {
	// rules are tried in this order; the first that is met completes the MiniJob, and ends what still runs.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	Rules []SuccessPolicyRule `json:"rules"`
}

// SuccessPolicyRule is one way to have done enough.
// +kubebuilder:validation:XValidation:rule="has(self.succeededIndexes) || has(self.succeededCount)",message="a rule of successPolicy must have succeededIndexes, succeededCount or both"
type SuccessPolicyRule struct {
	// succeededIndexes are the indexes that have to succeed, as in "0,2-5": all of them, or succeededCount of them.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	SucceededIndexes *string `json:"succeededIndexes,omitempty"`

	// succeededCount is how many indexes have to succeed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SucceededCount *int32 `json:"succeededCount,omitempty"`
}

// MiniJobStatus is what the controller sees. Every MiniPod that ended counts once, whatever becomes of it or of the manager.
type MiniJobStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// startTime is when the MiniJob was taken up, or went on after it was suspended; activeDeadlineSeconds count from here.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is when it was complete. A MiniJob that failed has none.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// active is the number of MiniPods that wait or run and are not being deleted.
	// +optional
	Active int32 `json:"active"`

	// ready of them are ready.
	// +optional
	Ready *int32 `json:"ready,omitempty"`

	// terminating is the number of MiniPods that are being deleted and have not ended.
	// +optional
	Terminating *int32 `json:"terminating,omitempty"`

	// succeeded is the number of MiniPods that ended well, and failed of those that did not.
	// +optional
	Succeeded int32 `json:"succeeded"`

	// failed is the number of MiniPods that failed, but for those that podFailurePolicy ignores.
	// +optional
	Failed int32 `json:"failed"`

	// completedIndexes are those that succeeded, as in "0,2-5".
	// +optional
	// +kubebuilder:validation:MaxLength=1048576
	CompletedIndexes string `json:"completedIndexes,omitempty"`

	// failedIndexes are those that failed for good, with backoffLimitPerIndex.
	// +optional
	// +kubebuilder:validation:MaxLength=1048576
	FailedIndexes *string `json:"failedIndexes,omitempty"`

	// uncountedTerminatedPods are MiniPods that have ended, and will be in succeeded and failed as soon as it is certain that they are not counted
	// twice.
	// +optional
	UncountedTerminatedPods *UncountedTerminatedPods `json:"uncountedTerminatedPods,omitempty"`

	// summary is what `kubectl get` shows under STATUS: Running, Suspended, Complete, Failed, FailureTarget or SuccessCriteriaMet.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`

	// progress is what `kubectl get` shows under COMPLETIONS: MiniPods that ended well and that have to, as in "2/3".
	// +optional
	// +kubebuilder:validation:MaxLength=48
	Progress string `json:"progress,omitempty"`

	// duration is what `kubectl get` shows under DURATION: how long the MiniJob took, when it is complete or has failed.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Duration string `json:"duration,omitempty"`

	// selector finds the MiniPods.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Selector string `json:"selector,omitempty"`

	// conditions are Complete, Failed, Suspended, FailureTarget and SuccessCriteriaMet, as a native Job's; and Ready, Stalled and Reconciling.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// UncountedTerminatedPods are MiniPods that have ended and are not in the counts yet, by UID.
type UncountedTerminatedPods struct {
	// succeeded are those that ended well.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=64
	Succeeded []string `json:"succeeded,omitempty"`

	// failed are those that did not.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=64
	Failed []string `json:"failed,omitempty"`
}

// MiniJob runs MiniPods until enough of them have ended well.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mjob,categories={all,mini}
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || self.metadata.name.size() <= 63",optionalOldSelf=true,message="the name of a MiniJob must have at most 63 characters, since its MiniPods have it as a label"
// +kubebuilder:validation:XValidation:rule="(oldSelf.hasValue() && has(oldSelf.value().spec.completions) && has(self.spec.completions) && oldSelf.value().spec.completions == self.spec.completions) || self.spec.completionMode != 'Indexed' || !has(self.spec.completions) || self.spec.completions == 0 || (!self.metadata.name.contains('.') && self.metadata.name.size() + 1 + string(self.spec.completions - 1).size() <= 63)",optionalOldSelf=true,message="the name of an Indexed MiniJob, a dash and the highest index must be a host name: at most 63 characters, and no dots"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=".status.summary"
// +kubebuilder:printcolumn:name="Completions",type=string,JSONPath=".status.progress"
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=".status.duration"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Containers",type=string,JSONPath=".spec.template.spec.containers[*].name",priority=1
// +kubebuilder:printcolumn:name="Images",type=string,JSONPath=".spec.template.spec.containers[*].image",priority=1
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=".status.selector",priority=1
type MiniJob struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	// +required
	Spec MiniJobSpec `json:"spec"`

	// status is what the controller sees.
	// +optional
	// +structType=atomic
	Status MiniJobStatus `json:"status,omitzero"`
}

// MiniJobList is a list of MiniJobs.
// +kubebuilder:object:root=true
type MiniJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MiniJob `json:"items"`
}
