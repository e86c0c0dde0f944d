package twin

// probe is a probe that asks every second.
func probe(kind, how string, fields ...string) string {
	out := kind + ": {periodSeconds: 1, " + how
	for _, f := range fields {
		out += ", " + f
	}
	return out + "}"
}

const (
	yes        = "exec: {command: ['true']}"
	no         = "exec: {command: ['false']}"
	once       = "failureThreshold: 1"
	afterThree = "exec: {command: [sh, -c, '[ -e /tmp/x ]']}"
	inThree    = "(sleep 3; touch /tmp/x) & " + forever
	v          = "volumes: [{name: v, emptyDir: {}}]"
	// secondLife is a program that is alive when it is started for the second time.
	secondLife    = "mktemp /v/XXXXXX; " + forever
	aliveInSecond = "exec: {command: [sh, -c, '[ $(ls /v | wc -l) -gt 1 ]']}"
	flaps         = "touch /tmp/x; sleep 6; rm /tmp/x; sleep 8; touch /tmp/x; " + forever
)

// server is the echo server as container c; it answers at /healthz.
func server(fields ...string) string {
	return container("c", echo, append(fields, "ports: [{name: http, containerPort: 8080}]")...)
}

// probes are about who is asked how it is.
var probes = []history{
	{name: "ready by a command", spec: always(sh(forever, probe("readinessProbe", yes))), until: "c ready: true"},
	{name: "ready by http", spec: always(server(probe("readinessProbe", "httpGet: {path: /healthz, port: http}"))), until: "c ready: true"},
	{name: "ready by tcp", spec: always(server(probe("readinessProbe", "tcpSocket: {port: 8080}"))), until: "c ready: true"},
	{name: "never ready by a command", spec: always(sh(forever, probe("readinessProbe", no))), until: "c: running", short: true},
	{name: "never ready by http", spec: always(server(probe("readinessProbe", "httpGet: {path: /ready, port: 8081}"))), until: "c: running"},
	{name: "never ready by tcp", spec: always(server(probe("readinessProbe", "tcpSocket: {port: 8081}"))), until: "c: running"},
	{name: "never ready by grpc", spec: always(server(probe("readinessProbe", "grpc: {port: 8080}"))), until: "c: running"},
	{name: "ready after three seconds", spec: always(sh(inThree, probe("readinessProbe", afterThree))), until: "c ready: true", follow: "condition Ready"},
	{name: "ready, then not, then again", spec: always(sh(flaps, probe("readinessProbe", afterThree, "failureThreshold: 2"))), until: "c ready: true", follow: "condition Ready",
		then: []step{{until: "c ready: false"}, {until: "c ready: true"}}},
	{name: "never ready, and ends well", spec: never(sh("sleep 2", probe("readinessProbe", no))), until: "phase: Succeeded"},
	{name: "ready, and ends badly", spec: never(sh("sleep 4; exit 1", probe("readinessProbe", yes))), until: "phase: Failed"},
	{name: "started after three seconds", spec: always(sh(inThree, probe("startupProbe", afterThree, "failureThreshold: 30"))), until: "c started: true", follow: "c started"},
	{name: "never ready before it has started", spec: always(sh(inThree, probe("startupProbe", afterThree, "failureThreshold: 30"), probe("readinessProbe", yes))), until: "c ready: true", follow: "condition Ready"},
	{name: "it does not start for a while", spec: always(sh(forever, probe("startupProbe", no, "failureThreshold: 60"))), until: "c: running"},
	{name: "it does not start, and is ended, Never", spec: never(sh(forever, probe("startupProbe", no, once))), until: "phase: Succeeded"},
	{name: "it does not start, and is started again", spec: always(sh(secondLife, onV, probe("startupProbe", aliveInSecond, once))).with(v), until: "c: running; c restarts: 1"},
	{name: "not alive by a command, Always", spec: always(sh(secondLife, onV, probe("livenessProbe", aliveInSecond, once))).with(v), until: "c: running; c restarts: 1", short: true},
	{name: "not alive by a command, OnFailure, and ends well", spec: onFailure(sh(secondLife, onV, probe("livenessProbe", aliveInSecond, once))).with(v), until: "c: running; c restarts: 1"},
	{name: "not alive by a command, Never, and ends well", spec: never(sh(forever, probe("livenessProbe", no, once))), until: "phase: Succeeded"},
	{name: "not alive by a command, Never, and is killed", spec: never(sh(stubborn, probe("livenessProbe", no, once))), until: "phase: Failed"},
	{name: "not alive by http", spec: never(server(probe("livenessProbe", "httpGet: {path: /healthz, port: 8081}", "failureThreshold: 2"))), until: "phase: Succeeded"},
	{name: "not alive by tcp", spec: never(server(probe("livenessProbe", "tcpSocket: {port: 8081}", "failureThreshold: 2"))), until: "phase: Succeeded"},
	{name: "not alive by grpc", spec: never(server(probe("livenessProbe", "grpc: {port: 8081}", "failureThreshold: 2"))), until: "phase: Succeeded"},
	{name: "not alive, with a grace period of the probe", spec: never(sh(stubborn, probe("livenessProbe", no, once, "terminationGracePeriodSeconds: 1"))).with("terminationGracePeriodSeconds: 60"), until: "phase: Failed"},
	{name: "alive", spec: always(sh(forever, probe("livenessProbe", yes))), until: "c: running; c ready: true"},
}

// hooks are about what happens at the begin and at the end of containers, and about the deadline.
var hooks = []history{
	{name: "postStart goes well", spec: always(sh(forever, "lifecycle: {postStart: {exec: {command: ['true']}}}")), until: "c: running"},
	{name: "postStart takes its time", spec: always(sh(forever, "lifecycle: {postStart: {sleep: {seconds: 4}}}")).with("terminationGracePeriodSeconds: 10"), until: "c: running"},
	{name: "postStart fails, Always", spec: always(sh(forever, "lifecycle: {postStart: {exec: {command: ['false']}}}")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "postStart fails, Never", spec: never(sh(forever, "lifecycle: {postStart: {exec: {command: ['false']}}}")), until: "phase: Succeeded"},
	{name: "postStart is not there, Never", spec: never(sh(stubborn, "lifecycle: {postStart: {exec: {command: [/not/there]}}}")), until: "phase: Failed"},
	{name: "preStop, and then the end", spec: always(sh(forever, "lifecycle: {preStop: {exec: {command: [sleep, '1']}}}")).with("terminationGracePeriodSeconds: 10"), until: "c: running", then: []step{deleted(gone)}},
	{name: "preStop fails", spec: always(sh(forever, "lifecycle: {preStop: {exec: {command: ['false']}}}")).with("terminationGracePeriodSeconds: 10"), until: "c: running", then: []step{deleted(gone)}},
	{name: "preStop takes longer than there is", spec: always(sh(stubborn, "lifecycle: {preStop: {sleep: {seconds: 2}}}")), until: "c: running", then: []step{deleted(gone)}},
	{name: "too long active, and ends well", spec: always(sh(forever)).with("activeDeadlineSeconds: 3"), until: "phase: Failed", short: true},
	{name: "too long active, and is killed", spec: never(sh(stubborn)).with("activeDeadlineSeconds: 3"), until: "phase: Failed"},
	{name: "too long active, and its image is not there", spec: always(container("c", nowhere)).with("activeDeadlineSeconds: 3"), until: "phase: Failed"},
	{name: "too long active, in an init container", spec: always(sh(forever)).after(named("i", forever)).with("activeDeadlineSeconds: 3"), until: "phase: Failed"},
	{name: "ends well before it is too long active", spec: never(sh("exit 0")).with("activeDeadlineSeconds: 600"), until: "phase: Succeeded"},
}

// lives are about several containers, quality of service, and where it runs.
var lives = []history{
	{name: "a server", spec: always(server()), until: "c: running", short: true},
	{name: "two servers", spec: always(named("a", forever), named("b", forever)), until: "a: running; b: running"},
	{name: "one of two fails, Never", spec: never(named("a", "exit 1"), named("b", forever)), until: "a: terminated; b: running"},
	{name: "one of two ends well, Never", spec: never(named("a", "exit 0"), named("b", forever)), until: "a: terminated; b: running"},
	{name: "one of two ends well, OnFailure", spec: onFailure(named("a", "exit 0"), named("b", forever)), until: "a: terminated; b: running"},
	{name: "one of two crashes, Always", spec: always(named("a", "exit 1"), named("b", forever)), until: "a: waiting CrashLoopBackOff or terminated; b: running; a restarts: 1"},
	{name: "two end well, Never", spec: never(named("a", "exit 0"), named("b", "sleep 1")), until: "phase: Succeeded"},
	{name: "one ends well, one does not, Never", spec: never(named("a", "exit 0"), named("b", "exit 4")), until: "phase: Failed"},
	{name: "one of two has a command that is not there, Never", spec: never(container("a", busybox, "command: [/not/there]"), named("b", forever)), until: "a: terminated; b: running"},
	{name: "Guaranteed", spec: always(sh(forever, "resources: {limits: {cpu: 10m, memory: 32Mi}}")), until: "c: running"},
	{name: "Burstable", spec: always(sh(forever, "resources: {requests: {memory: 32Mi}}")), until: "c: running"},
	{name: "Burstable, by an init container", spec: always(sh(forever)).after(named("i", "exit 0", "resources: {requests: {cpu: 1m}}")), until: "c: running"},
	{name: "a host port", spec: always(container("c", echo, "ports: [{containerPort: 8080, hostPort: HOSTPORT}]")), until: "c: running"},
	{name: "no node has its label", spec: always(sh(forever)).with("nodeSelector: {nobody: has-this}"), until: "condition PodScheduled: False"},
	{name: "no node has its memory", spec: always(sh(forever, "resources: {requests: {memory: 4Ti}}")), until: "condition PodScheduled: False"},
}

// deletions are about the end that somebody wants, in every phase.
var deletions = []history{
	{name: "deleted while it runs", spec: always(sh(forever)), until: "c: running", then: []step{deleted(gone)}, short: true},
	{name: "deleted while it runs, and fails", spec: always(sh("trap 'exit 3' TERM; while :; do sleep 1 & wait; done")), until: "c: running", then: []step{deleted(gone)}},
	{name: "deleted while it runs, and has to be killed", spec: always(sh(stubborn)), until: "c: running", then: []step{deleted(gone)}},
	{name: "deleted, Never", spec: never(sh(forever)), until: "c: running", then: []step{deleted(gone)}},
	{name: "deleted, and takes its time", spec: always(sh(stubborn)).with("terminationGracePeriodSeconds: 30"), until: "c: running", then: []step{deleted("deletion: asked for")}},
	{name: "deleted, never ready", spec: always(sh(forever, probe("readinessProbe", no))), until: "c: running", then: []step{deleted(gone)}},
	{name: "deleted while its image is not there", spec: always(container("c", nowhere)), until: "c: waiting ImagePullBackOff", then: []step{deleted(gone)}},
	{name: "deleted in an init container", spec: always(sh(forever)).after(named("i", forever)), until: "init i: running", then: []step{deleted(gone)}},
	{name: "deleted after it ended", spec: never(sh("exit 0")), until: "phase: Succeeded", then: []step{deleted(gone)}},
	{name: "deleted after it failed", spec: never(sh("exit 1")), until: "phase: Failed", then: []step{deleted(gone)}},
	{name: "deleted between two crashes", spec: always(sh("exit 1")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1", then: []step{deleted(gone)}},
	{name: "deleted before it has a node", spec: always(sh(forever)).with("nodeSelector: {nobody: has-this}"), until: "condition PodScheduled: False", then: []step{deleted(gone)}},
	{name: "deleted with a sidecar", spec: always(sh(forever)).after(sidecar("s", forever)), until: "c: running", then: []step{deleted(gone)}},
}
