package twin

func env(name, from string) string { return "env: [{name: " + name + ", valueFrom: {" + from + "}}]" }

func mounts(volume, more string) string {
	return "volumes: [{name: v, " + volume + "}]" + more
}

// configs are about ConfigMaps and Secrets that are not there.
var configs = []history{
	{name: "a variable of a ConfigMap that is not there", spec: always(sh(forever, env("A", "configMapKeyRef: {name: nobody, key: k}"))), until: "c: waiting CreateContainerConfigError", short: true},
	{name: "a variable of a key that is not there", spec: always(sh(forever, env("A", "configMapKeyRef: {name: config, key: k}"))), until: "c: waiting CreateContainerConfigError"},
	{name: "a variable of a Secret that is not there", spec: always(sh(forever, env("A", "secretKeyRef: {name: nobody, key: k}"))), until: "c: waiting CreateContainerConfigError"},
	{name: "a variable of a Secret's key that is not there", spec: always(sh(forever, env("A", "secretKeyRef: {name: secret, key: k}"))), until: "c: waiting CreateContainerConfigError"},
	{name: "a variable that may be missing", spec: never(says("echo A is ${A-unset}", env("A", "configMapKeyRef: {name: nobody, key: k, optional: true}"))), until: "phase: Succeeded"},
	{name: "variables of a file", spec: never(says(`echo "$A, $B, ${C-unset}"`, `env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: d/f, key: A}}}, {name: B, value: "$(A)!"},
		{name: C, valueFrom: {fileKeyRef: {volumeName: v, path: d/f, key: C, optional: true}}}]`)).after(named("i", `mkdir /v/d; printf "# x\n\n A='a \$(B)\nb' # y\n" > /v/d/f`, onV)).with(mounts("emptyDir: {}", "")), until: "phase: Succeeded"},
	{name: "a variable of a file that is not there", spec: always(sh(forever, env("A", "fileKeyRef: {volumeName: v, path: f, key: A}"))).with(mounts("emptyDir: {}", "")), until: "c: waiting CreateContainerConfigError"},
	{name: "a variable of a file that has another", spec: always(sh(forever, env("A", "fileKeyRef: {volumeName: v, path: f, key: A}"))).after(named("i", `echo "B='b'" > /v/f`, onV)).with(mounts("emptyDir: {}", "")), until: "c: waiting CreateContainerConfigError"},
	{name: "a variable of a file that is wrong", spec: always(sh(forever, env("A", "fileKeyRef: {volumeName: v, path: f, key: A}"))).after(named("i", `echo "A=a" > /v/f`, onV)).with(mounts("emptyDir: {}", "")), until: "c: waiting CreateContainerConfigError"},
	{name: "all variables of a ConfigMap that is not there", spec: always(sh(forever, "envFrom: [{configMapRef: {name: nobody}}]")), until: "c: waiting CreateContainerConfigError"},
	{name: "all variables of a Secret that is not there", spec: always(sh(forever, "envFrom: [{secretRef: {name: nobody}}]")), until: "c: waiting CreateContainerConfigError"},
	{name: "a variable of a ConfigMap that comes", spec: always(sh(forever, env("A", "configMapKeyRef: {name: late-KIND, key: k}"))), until: "c: waiting CreateContainerConfigError",
		then: []step{made("configmaps", "kind: ConfigMap\nmetadata: {name: late-KIND}\ndata: {k: v}", "c: running")}},
	{name: "an init container's ConfigMap is not there", spec: always(sh(forever)).after(named("i", "exit 0", env("A", "configMapKeyRef: {name: nobody, key: k}"))), until: "init i: waiting CreateContainerConfigError"},
	{name: "a volume of a ConfigMap that is not there", spec: always(sh(forever, onV)).with(mounts("configMap: {name: nobody}", "")), until: "c: waiting ContainerCreating"},
	{name: "a volume of a Secret that is not there", spec: always(sh(forever, onV)).with(mounts("secret: {secretName: nobody}", "")), until: "c: waiting ContainerCreating"},
	{name: "a volume of a key that is not there", spec: always(sh(forever, onV)).with(mounts("configMap: {name: config, items: [{key: k, path: p}]}", "")), until: "c: waiting ContainerCreating"},
	{name: "a volume that may be missing", spec: never(says("ls /v", onV)).with(mounts("configMap: {name: nobody, optional: true}", "")), until: "phase: Succeeded"},
	{name: "a volume is missing under init containers", spec: always(sh(forever, onV)).after(named("i", "exit 0")).with(mounts("configMap: {name: nobody}", "")), until: "init i: waiting PodInitializing"},
}

// insides are about what is in a container.
var insides = []history{
	{name: "variables", spec: never(says("echo $A-$B-$C-$D", `env: [{name: A, value: a}, {name: B, value: "$(A)b"}, {name: C, value: "$(NO)"}, {name: D, value: "$$(A)"}]`)), until: "phase: Succeeded"},
	{name: "variables of fields", spec: never(says("echo $NAME $S $L $A; [ -n \"$I\" ] && [ -n \"$H\" ] && echo $M", `env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: S, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}},
		{name: L, valueFrom: {fieldRef: {fieldPath: "metadata.labels['twin']"}}}, {name: A, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['twin']"}}},
		{name: I, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: H, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}, {name: M, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]`)), until: "phase: Succeeded"},
	{name: "variables of resources", spec: never(says("echo $A $B", `resources: {limits: {cpu: 1500m, memory: 32Mi}, requests: {cpu: 10m}}`,
		`env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}]`)), until: "phase: Succeeded"},
	{name: "variables of a ConfigMap and a Secret", spec: never(says("env | grep -e ^P_ -e ^A= | sort", `envFrom: [{configMapRef: {name: config}, prefix: P_}, {secretRef: {name: secret}, prefix: P_}]`,
		env("A", "secretKeyRef: {name: secret, key: password}"))), until: "phase: Succeeded", short: true},
	{name: "variables of nobody's", spec: never(says("env | cut -d= -f1 | grep -v -e KUBERNETES -e _PORT -e _SERVICE_ | sort")), until: "phase: Succeeded"},
	{name: "variables in the command", spec: never(container("c", busybox, `command: [sh, -c, "echo $(A) > /dev/termination-log"]`, "env: [{name: A, value: a}]")), until: "phase: Succeeded"},
	{name: "variables in args", spec: never(container("c", busybox, `command: [sh, -c]`, `args: ["echo $(A) $$(A) $(NO) > /dev/termination-log || true"]`, "env: [{name: A, value: a}]")), until: "phase: Succeeded"},
	{name: "args alone", spec: never(container("c", busybox, `args: [sh, -c, "echo args > /dev/termination-log"]`)), until: "phase: Succeeded"},
	{name: "a directory to work in", spec: never(says("pwd", "workingDir: /tmp")), until: "phase: Succeeded"},
	{name: "a directory to work in that is not there", spec: never(says("pwd; ls -A", "workingDir: /not/there")), until: "phase: Succeeded"},
	{name: "a host name", spec: never(says("hostname; cat /etc/hostname; grep -c web-0 /etc/hosts")).with("hostname: web-0"), until: "phase: Succeeded"},
	{name: "its own host name", spec: never(says("hostname; cat /etc/hostname; grep -v -e '^#' -e \"$(hostname)\" /etc/hosts")), until: "phase: Succeeded"},
	{name: "one network for all", spec: never(named("a", "for i in 1 2 3 4 5 6 7 8 9 10; do timeout 1 wget -qO- http://127.0.0.1:8080/healthz && exit 0; sleep 1; done; exit 1"), container("b", echo)).with("activeDeadlineSeconds: 80"), until: "a: terminated 0"},
	{name: "who it is", spec: never(says("id; grep -e NoNewPrivs -e Seccomp: -e CapEff -e CapBnd -e SigBlk /proc/self/status; umask")), until: "phase: Succeeded"},
	{name: "another user", spec: never(says("id -u; id -g; id -G", "securityContext: {runAsUser: 1000}")).with("securityContext: {runAsUser: 1, runAsGroup: 2000, supplementalGroups: [3000, 3001], fsGroup: 4000}"), until: "phase: Succeeded"},
	{name: "without any rights", spec: never(says("grep -e NoNewPrivs -e CapEff -e CapBnd /proc/self/status", "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}")), until: "phase: Succeeded"},
	{name: "with one right more and one less", spec: never(says("grep -e CapEff /proc/self/status", "securityContext: {capabilities: {add: [NET_ADMIN], drop: [CHOWN]}}")), until: "phase: Succeeded"},
	{name: "without system calls being filtered", spec: never(says("grep Seccomp: /proc/self/status", "securityContext: {seccompProfile: {type: Unconfined}}")), until: "phase: Succeeded"},
	{name: "a file system that cannot be written to", spec: never(says("touch /x && echo written", "securityContext: {readOnlyRootFilesystem: true}")), until: "phase: Failed"},
	{name: "nobody may be root, and it is", spec: always(sh(forever, "securityContext: {runAsNonRoot: true}")), until: "c: waiting CreateContainerConfigError", short: true},
	{name: "nobody may be root, and it says so", spec: always(sh(forever, "securityContext: {runAsNonRoot: true, runAsUser: 0}")), until: "c: waiting CreateContainerConfigError"},
	{name: "nobody may be root, and it is not", spec: always(server("securityContext: {runAsNonRoot: true}")), until: "c: running"},
	{name: "a directory that is empty at first", spec: never(says("ls -lAd /v; ls -A /v; touch /v/x && echo written", onV)).with(mounts("emptyDir: {}", "")), until: "phase: Succeeded"},
	{name: "a directory in memory", spec: never(says("grep ' /v ' /proc/mounts | cut -d' ' -f3; ls -lAd /v | cut -c1-10", onV)).with(mounts("emptyDir: {medium: Memory}", "")), until: "phase: Succeeded"},
	{name: "files of a ConfigMap", spec: never(says("cd /v; ls; cat one; stat -c %a%u%g -L one; touch /v/x", onV)).with(mounts("configMap: {name: config}", "")), until: "phase: Failed"},
	{name: "files of a Secret", spec: never(says("cd /v; ls; cat p/q; stat -c %a%u%g -L p/q", onV)).with(mounts("secret: {secretName: secret, defaultMode: 0400, items: [{key: password, path: p/q}]}", ", securityContext: {fsGroup: 4000}")), until: "phase: Succeeded"},
	{name: "files of fields", spec: never(says("cd /v; cat labels name cpu", onV, "resources: {limits: {cpu: 50m}}")).with(mounts(`downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: name, fieldRef: {fieldPath: metadata.name}},
		{path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}]}`, "")), until: "phase: Succeeded"},
	{name: "files of several", spec: never(says("cd /v; ls; cat one password", onV)).with(mounts("projected: {defaultMode: 0440, sources: [{configMap: {name: config}}, {secret: {name: secret}}]}", "")), until: "phase: Succeeded"},
	{name: "a path in a volume", spec: never(says("cat /one; ls -A /v", "volumeMounts: [{name: v, mountPath: /one, subPath: one}, {name: w, mountPath: /v, subPathExpr: $(A)}]", "env: [{name: A, value: dir}]")).with("volumes: [{name: v, configMap: {name: config}}, {name: w, emptyDir: {}}]"), until: "phase: Succeeded"},
	{name: "a path that leads out of its volume", spec: always(sh(forever, "volumeMounts: [{name: v, mountPath: /v, subPath: out}]")).after(named("i", "ln -s / /v/out", onV)).with(mounts("emptyDir: {}", "")), until: "c: waiting CreateContainerConfigError"},
}
