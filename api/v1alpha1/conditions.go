package v1alpha1

// Condition types. Every kind carries Ready, so that `kubectl wait --for=condition=Ready` and kstatus understand it.
const (
	// ConditionReady: the object does what its spec asks for. For a MiniPod: all containers run and are ready; for a
	// MiniNode: the agent is alive and can start containers.
	ConditionReady = "Ready"

	// ConditionPIDPressure: True while the MiniPods of a MiniNode have nearly as many processes and threads as they can have
	// together. Nothing is scheduled there then.
	ConditionPIDPressure = "PIDPressure"

	// ConditionPeersUnreachable: True while packets from a MiniNode to the MiniPods of other nodes get lost on their way although those nodes
	// answer. It is told only; nothing else follows from it. There is no such condition where there is no other node to ask.
	ConditionPeersUnreachable = "PeersUnreachable"

	// ConditionLeaving: the DaemonSet that keeps the agent of a MiniNode no longer wants the node. Nothing is scheduled there, and its
	// MiniPods are moved before the agent ends. There is no such condition otherwise.
	ConditionLeaving = "Leaving"

	// ConditionPodScheduled: a node was chosen. False carries the reason and one count of nodes per reason.
	ConditionPodScheduled = "PodScheduled"
	// ConditionAdmitted: False while the Pod Security level of the namespace refuses the MiniPod, or its new image, or while a host port
	// of it is somebody else's on the node. There is no such condition otherwise.
	ConditionAdmitted = "Admitted"
	// ConditionInitialized: all init containers have ended well and all sidecars have started, or a container has started since.
	ConditionInitialized = "Initialized"
	// ConditionContainersReady: every container of the MiniPod is ready.
	ConditionContainersReady = "ContainersReady"
	// ConditionDisruptionTarget: the system is about to delete the MiniPod, and why.
	ConditionDisruptionTarget = "DisruptionTarget"
	// ConditionQuotaReleased: the MiniPod is being deleted on a node that is silent, its grace period is over, and it no longer counts
	// in the quota of its namespace. Its room on the node stays taken.
	ConditionQuotaReleased = "QuotaReleased"

	// ConditionAvailable: at least the wanted minimum of replicas is available.
	ConditionAvailable = "Available"
	// ConditionProgressing: a rollout moves, is complete, paused, or stopped moving.
	ConditionProgressing = "Progressing"
	// ConditionReplicaFailure: MiniPods could not be created or deleted.
	ConditionReplicaFailure = "ReplicaFailure"

	// ConditionComplete: a MiniJob has done what it had to.
	ConditionComplete = "Complete"
	// ConditionFailed: a MiniJob will not do what it had to.
	ConditionFailed = "Failed"
	// ConditionSuspended: a MiniJob makes no MiniPods until it is resumed.
	ConditionSuspended = "Suspended"
	// ConditionFailureTarget: a MiniJob is going to be Failed, as soon as its MiniPods have ended.
	ConditionFailureTarget = "FailureTarget"
	// ConditionSuccessCriteriaMet: a MiniJob is going to be Complete, as soon as its MiniPods have ended.
	ConditionSuccessCriteriaMet = "SuccessCriteriaMet"

	// ConditionStalled is kstatus's word for: will not get further without a change by the user.
	ConditionStalled = "Stalled"
	// ConditionReconciling is kstatus's word for: on its way to the wanted state.
	ConditionReconciling = "Reconciling"
)

// Reasons of conditions. CamelCase, stable, for programs; the message beside them is for people.
const (
	// PodScheduled.
	ReasonScheduled     = "Scheduled"
	ReasonUnschedulable = "Unschedulable"
	ReasonQuotaExceeded = "QuotaExceeded"

	// PodScheduled, Admitted, and what a container waits for: the MiniPod violates the Pod Security level of its namespace, or that level
	// is not known.
	ReasonPodSecurityViolation = "PodSecurityViolation"
	ReasonPodSecurityUnknown   = "PodSecurityUnknown"

	// Admitted, and what a container waits for: a program, a native Pod or a native Service of the node has one of its host ports.
	ReasonHostPortTaken = "HostPortTaken"

	// MiniPod Ready and ContainersReady.
	ReasonContainersReady    = "ContainersReady"
	ReasonContainersNotReady = "ContainersNotReady"
	ReasonPodCompleted       = "PodCompleted"
	ReasonPodFailed          = "PodFailed"
	ReasonNodeLost           = "NodeLost"

	// Initialized.
	ReasonContainersInitialized    = "ContainersInitialized"
	ReasonContainersNotInitialized = "ContainersNotInitialized"

	// DisruptionTarget.
	ReasonDeletionByNodeController = "DeletionByNodeController"
	ReasonDeletionByTaintManager   = "DeletionByTaintManager"
	ReasonDeletionByDrain          = "DeletionByDrain"

	// MiniReplicaSet and MiniDeployment.
	ReasonReplicasReady              = "ReplicasReady"
	ReasonReplicasNotReady           = "ReplicasNotReady"
	ReasonFailedCreate               = "FailedCreate"
	ReasonFailedDelete               = "FailedDelete"
	ReasonMinimumReplicasAvailable   = "MinimumReplicasAvailable"
	ReasonMinimumReplicasUnavailable = "MinimumReplicasUnavailable"
	ReasonNewReplicaSetCreated       = "NewReplicaSetCreated"
	ReasonReplicaSetUpdated          = "ReplicaSetUpdated"
	ReasonNewReplicaSetAvailable     = "NewReplicaSetAvailable"
	ReasonProgressDeadlineExceeded   = "ProgressDeadlineExceeded"
	ReasonDeploymentPaused           = "DeploymentPaused"
	ReasonDeploymentResumed          = "DeploymentResumed"
	ReasonRollbackRevisionNotFound   = "RollbackRevisionNotFound"
	ReasonSelectorMismatch           = "SelectorMismatch"

	// MiniJob, as of a native Job.
	ReasonCompletionsReached       = "CompletionsReached"
	ReasonSuccessPolicy            = "SuccessPolicy"
	ReasonPodFailurePolicy         = "PodFailurePolicy"
	ReasonBackoffLimitExceeded     = "BackoffLimitExceeded"
	ReasonMaxFailedIndexesExceeded = "MaxFailedIndexesExceeded"
	ReasonFailedIndexes            = "FailedIndexes"
	ReasonJobSuspended             = "JobSuspended"
	ReasonJobResumed               = "JobResumed"
	// Of Ready and Reconciling.
	ReasonInProgress = "InProgress"

	// MiniService.
	ReasonAllocated        = "Allocated"
	ReasonClusterIPInUse   = "ClusterIPInUse"
	ReasonClusterIPInvalid = "ClusterIPInvalid"
	ReasonNodePortInUse    = "NodePortInUse"
	ReasonNodePortInvalid  = "NodePortInvalid"
	ReasonRangeExhausted   = "RangeExhausted"

	// MiniQuota.
	ReasonWithinLimits = "WithinLimits"
	ReasonAtLimit      = "AtLimit"
	ReasonUnknownKey   = "UnknownKey"

	// MiniNode.
	ReasonAgentReady    = "AgentReady"
	ReasonAgentNotReady = "AgentNotReady"
	// ReasonRuntimeNotReady: containerd does not answer. What runs goes on; nothing can be started, ended or seen.
	ReasonRuntimeNotReady  = "ContainerRuntimeNotReady"
	ReasonAgentAbsent      = "AgentAbsent"
	ReasonAgentLost        = "AgentLost"
	ReasonMachineRestarted = "MachineRestarted"
	ReasonPodCIDRPending   = "PodCIDRPending"
	ReasonPodCIDRExhausted = "PodCIDRExhausted"
	ReasonPodCIDRRefused   = "PodCIDRRefused"
	ReasonSufficientPIDs   = "SufficientPIDs"
	ReasonInsufficientPIDs = "InsufficientPIDs"
	// Of PeersUnreachable: what goes to other nodes' ranges as it is gets lost; what goes there by VXLAN; both; other nodes answer; no node
	// answers at all, so that nothing is known.
	ReasonRoutedPacketsLost       = "RoutedPacketsLost"
	ReasonEncapsulatedPacketsLost = "EncapsulatedPacketsLost"
	ReasonPacketsLost             = "PacketsLost"
	ReasonPeersAnswer             = "PeersAnswer"
	ReasonPeersSilent             = "PeersSilent"
	// ReasonAgentLeft is an agent's last word: nothing of miniplane is left on the machine. The manager deletes the MiniNode.
	ReasonAgentLeft = "AgentLeft"
	// Of Leaving: MiniPods are moved; they are not, because too much leaves; they cannot be, because the agent has ended before.
	ReasonMovingMiniPods = "MovingMiniPods"
	ReasonHeldBack       = "HeldBack"
	ReasonLeftBehind     = "LeftBehind"
)

// Reasons a container waits, as kubelet gives them.
const (
	ReasonContainerCreating     = "ContainerCreating"
	ReasonPodInitializing       = "PodInitializing" // as ContainerCreating, where there are init containers
	ReasonErrImagePull          = "ErrImagePull"
	ReasonImagePullBackOff      = "ImagePullBackOff"
	ReasonErrImageNeverPull     = "ErrImageNeverPull"
	ReasonInvalidImageName      = "InvalidImageName"
	ReasonCrashLoopBackOff      = "CrashLoopBackOff"
	ReasonCreateContainerError  = "CreateContainerError"
	ReasonCreateContainerConfig = "CreateContainerConfigError"
	ReasonRunContainerError     = "RunContainerError"
	ReasonPostStartHookError    = "PostStartHookError"

	// ReasonFailedMount is an Event's: a volume cannot be made, for example because its ConfigMap is not there. The containers wait as ContainerCreating.
	ReasonFailedMount = "FailedMount"
)

// Reasons of Events about probes, as a kubelet's.
const (
	ReasonUnhealthy = "Unhealthy"
	ReasonKilling   = "Killing"
)

// Reasons of Events about hooks, as a kubelet's.
const (
	ReasonFailedPostStartHook = "FailedPostStartHook"
	ReasonFailedPreStopHook   = "FailedPreStopHook"
)

// ReasonDNSConfigForming is that of an Event about more servers or domains than a resolver has room for, as a kubelet's.
const ReasonDNSConfigForming = "DNSConfigForming"

// Reasons a container ended.
const (
	ReasonCompleted = "Completed"
	ReasonError     = "Error"
	// ReasonShimFailed: the server that ran the container failed and took it along. It is no crash of the container's own.
	ReasonShimFailed = "ShimFailed"
	ReasonOOMKilled  = "OOMKilled"
	// ReasonEvicted is a MiniPod's own reason: it took more of the node than it may.
	ReasonEvicted = "Evicted"
	// ReasonDeadlineExceeded is a MiniPod's own reason, and of Failed of a MiniJob: it was active for longer than its activeDeadlineSeconds.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonContainerStatusUnknown: nobody saw how it ended, or nobody tells whether it did.
	ReasonContainerStatusUnknown = "ContainerStatusUnknown"
	// ReasonStartError: it could not be started, and is not tried again.
	ReasonStartError = "StartError"
)
