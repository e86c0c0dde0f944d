package podfields

const (
	noPriorities  = "all MiniPods have the same priority"
	noDevices     = "the lane has no devices to hand out"
	onlyLinux     = "MiniPods run on Linux"
	notOnAllNodes = "not every node has it, and the lane does not know which"
)

var podSpec = []Field{
	works("containers", `[{name: b, image: x}]`),
	works("initContainers", `[{name: b, image: x}]`),
	refused("ephemeralContainers", `[{name: b, image: x}]`, "they come by a subresource, which custom resources cannot have"),
	works("volumes", `[{name: v, emptyDir: {}}]`),
	works("restartPolicy", `OnFailure`),
	works("terminationGracePeriodSeconds", `5`),
	works("activeDeadlineSeconds", `60`),
	works("dnsPolicy", `ClusterFirstWithHostNet`),
	works("dnsConfig", `{searches: [example.com]}`),
	works("nodeSelector", `{disk: fast}`),
	works("nodeName", `node-1`),
	works("tolerations", `[{operator: Exists}]`),
	works("affinity", `{nodeAffinity: {}}`),
	works("topologySpreadConstraints", `[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}, {maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]`),
	refused("schedulingGates", `[{name: example.com/gate}]`, "nothing holds a MiniPod back from the scheduler"),
	refused("schedulingGroup", `{podGroupName: g}`, "MiniPods are placed one by one"),
	refused("evictionResponders", `[{name: example.com/r}]`, "MiniPods are not evicted by the API"),
	only("schedulerName", values(`default-scheduler`), `another`, "MiniPods are placed by miniplane's scheduler"),
	only("priority", values(`0`), `1000`, noPriorities),
	only("priorityClassName", values(`""`), `system-node-critical`, noPriorities),
	idle("preemptionPolicy", values(`PreemptLowerPriority`, `Never`), noPriorities),
	only("serviceAccountName", values(`default`), `robot`, "MiniPods get no token by themselves; with a volume that has one, or with `automountServiceAccountToken`, it can be any"),
	only("serviceAccount", values(`default`), `robot`, "it is an older name of `serviceAccountName`"),
	works("automountServiceAccountToken", `true`).but("where it is not given there is no token, and a native Pod has one"),
	idle("enableServiceLinks", values(`true`, `false`), "no variables are made of services but the API server's"),
	works("securityContext", `{runAsUser: 1}`),
	works("imagePullSecrets", `[{name: s}]`),
	works("hostname", `web-0`),
	refused("hostnameOverride", `web-0`, "`hostname` does it, but for names longer than 63 characters"),
	works("subdomain", `web`),
	works("setHostnameAsFQDN", `true`),
	works("hostAliases", `[{ip: 127.0.0.1, hostnames: [a]}]`),
	works("hostNetwork", `true`),
	works("hostPID", `true`),
	works("hostIPC", `true`),
	works("shareProcessNamespace", `true`),
	only("hostUsers", values(`true`), `false`, "there are no user namespaces"),
	works("os", `{name: linux}`),
	refused("readinessGates", `[{conditionType: example.com/ready}]`, "the agent alone says whether a MiniPod is ready"),
	only("runtimeClassName", values(`""`), `kata`, "all containers of a node run by the same runtime"),
	refused("overhead", `{cpu: 10m}`, "it belongs to `runtimeClassName`"),
	refused("resources", `{limits: {cpu: 1}}`, "requests and limits are those of containers"),
	refused("resourceClaims", `[{name: gpu, resourceClaimName: g}]`, noDevices),
}

var podOS = []Field{
	only("name", values(`linux`), `windows`, onlyLinux),
}

var localObjectReference = []Field{
	works("name", `s`),
}

var toleration = []Field{
	works("key", `a`),
	only("operator", values(`Exists`, `Equal`), `Lt`, "the scheduler compares no numbers"),
	works("value", `b`),
	works("effect", `NoSchedule`),
	works("tolerationSeconds", `5`).in(inPod(`tolerations: [{key: a, effect: NoExecute, HERE: }]`)),
}

var affinity = []Field{
	works("nodeAffinity", `{}`),
	works("podAffinity", `{}`).but("MiniPods are meant, and native Pods are not"),
	works("podAntiAffinity", `{}`).but("MiniPods are meant, and native Pods are not"),
}

var podAffinity = []Field{
	works("requiredDuringSchedulingIgnoredDuringExecution", `[{topologyKey: zone, labelSelector: {matchLabels: {app: web}}}]`),
	works("preferredDuringSchedulingIgnoredDuringExecution", `[{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {}}}]`),
}

var podAffinityTerm = []Field{
	works("labelSelector", `{matchLabels: {app: ""}, matchExpressions: [{key: tier, operator: NotIn, values: [front]}, {key: example.com/old, operator: DoesNotExist}]}`),
	works("namespaces", `[team-a, team-b]`),
	works("namespaceSelector", `{}`),
	works("topologyKey", `kubernetes.io/hostname`),
	works("matchLabelKeys", `[pod-template-hash]`).but("it follows the labels that the MiniPod has, also when they change"),
	works("mismatchLabelKeys", `[example.com/tenant]`).but("it follows the labels that the MiniPod has, also when they change"),
}

var weightedTerm = []Field{
	works("weight", `100`),
	works("podAffinityTerm", `{topologyKey: zone}`),
}

var spreadConstraint = []Field{
	works("maxSkew", `3`),
	works("topologyKey", `topology.kubernetes.io/zone`),
	works("whenUnsatisfiable", `ScheduleAnyway`),
	works("labelSelector", `{matchLabels: {app: web}}`),
	works("minDomains", `3`),
	works("nodeAffinityPolicy", `Ignore`),
	works("nodeTaintsPolicy", `Honor`),
	works("matchLabelKeys", `[pod-template-hash]`).in(inPod(`topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, HERE: }]`)),
}

var nodeAffinity = []Field{
	works("requiredDuringSchedulingIgnoredDuringExecution", `{nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: Exists}]}]}`),
	works("preferredDuringSchedulingIgnoredDuringExecution", `[{weight: 1, preference: {matchExpressions: [{key: disk, operator: Exists}]}}]`),
}

var nodeSelector = []Field{
	works("nodeSelectorTerms", `[{matchExpressions: [{key: disk, operator: Exists}]}, {}]`),
}

var nodeSelectorTerm = []Field{
	works("matchExpressions", `[{key: example.com/disk, operator: In, values: [fast, ""]}]`),
	works("matchFields", `[{key: metadata.name, operator: NotIn, values: [node-1]}]`),
}

var nodeSelectorRequirement = []Field{
	works("key", `disk`),
	works("operator", `DoesNotExist`),
	works("values", `["7"]`).in(inNodeTerm(`matchExpressions: [{key: cores, operator: Gt, HERE: }]`)),
}

var preferredTerm = []Field{
	works("weight", `100`),
	works("preference", `{matchFields: [{key: metadata.name, operator: In, values: [node-1]}]}`),
}

var hostAlias = []Field{
	works("ip", `127.0.0.2`),
	works("hostnames", `[a, b.example.com]`),
}

var dnsConfig = []Field{
	works("nameservers", `[10.0.0.1]`),
	works("searches", `[example.com]`),
	works("options", `[{name: ndots, value: "2"}]`),
}

var dnsOption = []Field{
	works("name", `ndots`),
	works("value", `"2"`),
}
