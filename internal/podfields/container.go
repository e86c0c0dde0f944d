package podfields

var container = []Field{
	works("name", `b`),
	works("image", `example.com/x:v1`),
	works("imagePullPolicy", `IfNotPresent`),
	works("command", `[sh]`),
	works("args", `[-c, exit]`),
	works("workingDir", `/tmp`),
	works("ports", `[{containerPort: 80}]`),
	works("env", `[{name: A, value: b}]`),
	works("envFrom", `[{configMapRef: {name: c}}]`),
	works("resources", `{limits: {cpu: 1}}`),
	refused("resizePolicy", `[{resourceName: cpu, restartPolicy: NotRequired}]`, "resources of a MiniPod that exists do not change"),
	works("volumeMounts", `[{name: v, mountPath: /v}]`).in(`{volumes: [{name: v, emptyDir: {}}], containers: [{name: a, image: x, HERE: }]}`),
	refused("volumeDevices", `[{name: v, devicePath: /dev/v}]`, "there are no volumes that are block devices").
		in(`{volumes: [{name: v, persistentVolumeClaim: {claimName: c}}], containers: [{name: a, image: x, HERE: }]}`),
	works("restartPolicy", `Never`),
	works("restartPolicyRules", `[{action: Restart, exitCodes: {operator: In, values: [42]}}]`).in(inContainer(`restartPolicy: Never, HERE: `)),
	works("livenessProbe", `{tcpSocket: {port: 80}}`),
	works("readinessProbe", `{tcpSocket: {port: 80}}`),
	works("startupProbe", `{tcpSocket: {port: 80}}`),
	works("lifecycle", `{preStop: {sleep: {seconds: 1}}}`),
	works("securityContext", `{runAsUser: 1}`),
	works("terminationMessagePath", `/tmp/last-words`),
	works("terminationMessagePolicy", `FallbackToLogsOnError`),
	only("stdin", values(`false`), `true`, "nobody can write to a container's input"),
	only("stdinOnce", values(`false`), `true`, "nobody can write to a container's input"),
	only("tty", values(`false`), `true`, "a container has no terminal"),
}

var restartRule = []Field{
	only("action", values(`Restart`), `RestartAllContainers`, "it is not on by default in Kubernetes either"),
	works("exitCodes", `{operator: NotIn, values: [1]}`),
}

var restartRuleExitCodes = []Field{
	works("operator", `NotIn`),
	works("values", `[42]`),
}

var containerPort = []Field{
	works("name", `http`),
	works("containerPort", `80`),
	works("hostPort", `8080`),
	only("hostIP", values(`""`, `0.0.0.0`), `127.0.0.1`, "a host port is opened on all addresses of the node"),
	only("protocol", values(`TCP`, `UDP`), `SCTP`, notOnAllNodes),
}

var resourceRequirements = []Field{
	works("limits", `{cpu: 1, memory: 64Mi}`),
	works("requests", `{cpu: 1, memory: 64Mi}`),
	refused("claims", `[{name: gpu}]`, noDevices).in(`{resourceClaims: [{name: gpu, resourceClaimName: g}], containers: [{name: a, image: x, resources: {HERE: }}]}`),
}

var envVar = []Field{
	works("name", `B`),
	works("value", `b`),
	works("valueFrom", `{fieldRef: {fieldPath: metadata.name}}`),
}

var envVarSource = []Field{
	works("fieldRef", `{fieldPath: metadata.name}`),
	works("resourceFieldRef", `{resource: limits.cpu}`),
	works("configMapKeyRef", `{name: c, key: k}`),
	works("secretKeyRef", `{name: c, key: k}`),
	works("fileKeyRef", `{volumeName: v, path: p, key: k}`).in(`{volumes: [{name: v, emptyDir: {}}], containers: [{name: a, image: x, env: [{name: A, valueFrom: {HERE: }}]}]}`),
}

var objectFieldSelector = []Field{
	only("apiVersion", values(`v1`), `v2`, "there is no other"),
	only("fieldPath", values(`metadata.name`, `metadata.namespace`, `metadata.uid`, `"metadata.labels['a']"`, `"metadata.annotations['a']"`, `spec.nodeName`,
		`status.hostIP`, `status.hostIPs`, `status.podIP`, `status.podIPs`), `spec.serviceAccountName`, "a MiniPod has no token by itself"),
}

var resourceFieldSelector = []Field{
	works("containerName", `a`),
	only("resource", values(`limits.cpu`, `limits.memory`, `requests.cpu`, `requests.memory`), `limits.ephemeral-storage`, "cpu and memory are what containers can ask for"),
	works("divisor", `1m`),
}

var keySelector = []Field{
	works("name", `d`),
	works("key", `l`),
	works("optional", `true`),
}

var fileKeySelector = []Field{
	works("volumeName", `w`),
	works("path", `dir/file`).but("it must be relative; a link in it leads nowhere out of the volume, and the file has at most 64 KiB"),
	works("key", `other.key`),
	works("optional", `true`).but("nor need the file be there, as Kubernetes says; a kubelet of 1.37 waits for it"),
}

var envFromSource = []Field{
	works("prefix", `A_`).in(inContainer(`envFrom: [{configMapRef: {name: c}, HERE: }]`)),
	works("configMapRef", `{name: c}`),
	works("secretRef", `{name: c}`),
}

var envSource = []Field{
	works("name", `d`),
	works("optional", `true`),
}

var probe = []Field{
	works("exec", `{command: [check]}`).in(inContainer(`readinessProbe: {HERE: }`)),
	works("httpGet", `{port: 80}`).in(inContainer(`readinessProbe: {HERE: }`)),
	works("tcpSocket", `{port: 80}`),
	works("grpc", `{port: 80}`).in(inContainer(`readinessProbe: {HERE: }`)),
	works("initialDelaySeconds", `1`),
	works("timeoutSeconds", `2`),
	works("periodSeconds", `3`),
	own("periodMilliseconds", `100`, "some have to be asked more often than once a second"),
	works("successThreshold", `2`),
	works("failureThreshold", `2`),
	works("terminationGracePeriodSeconds", `5`).in(inContainer(`livenessProbe: {tcpSocket: {port: 80}, HERE: }`)),
}

var execAction = []Field{
	works("command", `[check, me]`),
}

var httpGetAction = []Field{
	works("path", `/ready`),
	works("port", `http`).in(inContainer(`ports: [{name: http, containerPort: 80}], readinessProbe: {httpGet: {HERE: }}`)),
	works("host", `example.com`),
	works("scheme", `HTTPS`),
	works("httpHeaders", `[{name: A, value: b}]`),
	refused("protocol", `HTTP2`, "Kubernetes itself tries it out only"),
}

var httpHeader = []Field{
	works("name", `B`),
	works("value", `c`),
}

var tcpSocketAction = []Field{
	works("port", `81`),
	works("host", `example.com`),
}

var grpcAction = []Field{
	works("port", `81`),
	works("service", `s`),
	refused("mode", `Secure`, "Kubernetes itself tries it out only"),
}

var lifecycle = []Field{
	works("postStart", `{exec: {command: [register]}}`),
	works("preStop", `{exec: {command: [drain]}}`),
	works("stopSignal", `SIGUSR1`).in(`{os: {name: linux}, containers: [{name: a, image: x, lifecycle: {HERE: }}]}`),
}

var lifecycleHandler = []Field{
	works("exec", `{command: [drain]}`),
	works("httpGet", `{port: 80}`),
	works("sleep", `{seconds: 1}`),
	refused("tcpSocket", `{port: 80}`, "a native Pod has the field and fails at it"),
}

var sleepAction = []Field{
	works("seconds", `2`),
}
