package v1alpha1

// Names that miniplane puts on objects, its own and native ones.
const (
	// AgentFinalizer holds a MiniPod until its containers, network and files are proven gone from its node. Only the
	// node agent removes it; the node controller does so for an agent that is gone for good.
	AgentFinalizer = "miniplane.dev/agent"

	// JobFinalizer holds a MiniPod of a MiniJob until it is counted. Only the controller of MiniJobs removes it.
	JobFinalizer = "miniplane.dev/job-tracking"

	// JobControllerName is who works on a MiniJob that names nobody in spec.managedBy; the native name means the same.
	JobControllerName = "miniplane.dev/job-controller"

	// DrainFinalizer holds a node's drain marker, a native Pod in the SystemNamespace that `kubectl drain` evicts and waits
	// for, until the MiniPods have left the node. The manager removes it.
	DrainFinalizer = "miniplane.dev/drain"

	// DrainMarkerLabel, on a native Pod, says that it is a drain marker; the value is "true".
	DrainMarkerLabel = "miniplane.dev/drain-marker"

	// UninstallGuard is the ValidatingAdmissionPolicyBinding that refuses to let go of what runs miniplane while its objects
	// may need it. Where it is missing, or does not deny, miniplane is being uninstalled.
	UninstallGuard = "uninstall.miniplane.dev"

	// PodTemplateHashLabel tells the MiniReplicaSets, and the MiniPods, of one MiniDeployment's revisions apart.
	PodTemplateHashLabel = "pod-template-hash"

	// RevisionAnnotation, on a MiniDeployment and its MiniReplicaSets, is the revision number, counted from 1.
	RevisionAnnotation = "miniplane.dev/revision"

	// RevisionHistoryAnnotation, on a MiniReplicaSet, lists the earlier revision numbers of the same template.
	RevisionHistoryAnnotation = "miniplane.dev/revision-history"

	// DesiredReplicasAnnotation, on a MiniReplicaSet, is the replica count of its MiniDeployment when last scaled, so
	// that a rollout in progress can be scaled in proportion.
	DesiredReplicasAnnotation = "miniplane.dev/desired-replicas"

	// RevisionLabel, on a native ControllerRevision, says that it holds a template of a kind of miniplane; the value is the kind, as
	// "MiniDaemonSet".
	RevisionLabel = "miniplane.dev/revision-of"

	// ServiceNameLabel, on an EndpointSlice, names the MiniService whose backends it lists.
	ServiceNameLabel = "miniplane.dev/service-name"

	// ServiceProxyName is the value of service.kubernetes.io/service-proxy-name that keeps kube-proxy away from our
	// EndpointSlices.
	ServiceProxyName = "miniplane"

	// QuotaNameLabel, on a native ResourceQuota, names the MiniQuota that owns it.
	QuotaNameLabel = "miniplane.dev/quota-name"

	// SystemNamespace holds the manager, the agents and the Leases of the agents' heartbeats, one per MiniNode and
	// named after it.
	SystemNamespace = "miniplane-system"

	// NodesNamespace holds one ServiceAccount for each node on which a MiniPod uses a Secret or a ConfigMap, named after the
	// node. As that, the node's agent reads them, and may do nothing else.
	NodesNamespace = "miniplane-nodes"

	// GrantLabel, on a Role and a RoleBinding, says that they let a node read what its MiniPods use; the value is "true".
	GrantLabel = "miniplane.dev/grant"

	// AgentReporter is the reportingController of the agents' Events; the reportingInstance is the node's name.
	AgentReporter = "miniplane-agent"

	// ManagerLease is the manager's Lease of leadership in the SystemNamespace. No node can be called like it.
	ManagerLease = "miniplane-manager"
)
