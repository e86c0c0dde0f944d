package twin

import "slices"

// histories are all of them.
func histories() []history {
	return slices.Concat(ends, images, inits, probes, hooks, configs, insides, lives, deletions)
}

// ends are about programs that end, and about who starts them again.
var ends = []history{
	{name: "exit 0, Always", spec: always(sh("exit 0")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1", short: true},
	{name: "exit 0, OnFailure", spec: onFailure(sh("exit 0")), until: "phase: Succeeded"},
	{name: "exit 0, Never", spec: never(sh("exit 0")), until: "phase: Succeeded", short: true},
	{name: "exit 1, Always", spec: always(sh("exit 1")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "exit 1, OnFailure", spec: onFailure(sh("exit 1")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "exit 1, Never", spec: never(sh("exit 1")), until: "phase: Failed", short: true},
	{name: "exit 137, Always", spec: always(sh("exit 137")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "exit 137, OnFailure", spec: onFailure(sh("exit 137")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "exit 137, Never", spec: never(sh("exit 137")), until: "phase: Failed"},
	{name: "exit 143, Always", spec: always(sh("exit 143")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "exit 143, OnFailure", spec: onFailure(sh("exit 143")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "exit 143, Never", spec: never(sh("exit 143")), until: "phase: Failed"},
	{name: "exit 255, Never", spec: never(sh("exit 255")), until: "phase: Failed"},
	{name: "it crashes a second time", spec: always(sh("sleep 1; exit 3")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 2"},
	{name: "it fails once, and then goes on", spec: onFailure(sh(`if [ -e /v/x ]; then `+forever+`; fi; touch /v/x; exit 1`, onV)).with("volumes: [{name: v, emptyDir: {}}]"), until: "c: running; c restarts: 1"},
	{name: "it fails once, and then ends well", spec: onFailure(sh(`[ -e /v/x ] || { touch /v/x; exit 1; }`, onV)).with("volumes: [{name: v, emptyDir: {}}]"), until: "phase: Succeeded"},
	{name: "killed for its memory, Never", spec: never(sh(eats, "resources: {limits: {memory: 24Mi}}")), until: "phase: Failed"},
	{name: "killed for its memory, Always", spec: always(sh(eats, "resources: {limits: {memory: 24Mi}}")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1", short: true},
	{name: "a child is killed for its memory", spec: never(sh("sh -c '"+eats+"'; exit 7", "resources: {limits: {memory: 24Mi}}")), until: "phase: Failed"},

	{name: "last words", spec: never(sh("echo because > /dev/termination-log; exit 1")), until: "phase: Failed", short: true},
	{name: "last words of one that ends well", spec: never(sh("echo done > /dev/termination-log")), until: "phase: Succeeded"},
	{name: "last words of several lines", spec: never(sh(`printf 'one\ntwo\n\n' > /dev/termination-log; exit 1`)), until: "phase: Failed"},
	{name: "last words that are too long", spec: never(sh(`i=0; while [ $i -lt 600 ]; do echo "line $i of them"; i=$((i+1)); done > /dev/termination-log; exit 1`)), until: "phase: Failed"},
	{name: "last words that are no text", spec: never(sh(`printf '\377\376 a\000b' > /dev/termination-log; exit 1`)), until: "phase: Failed"},
	{name: "last words in another file", spec: never(sh("echo because > /tmp/last; exit 1", "terminationMessagePath: /tmp/last")), until: "phase: Failed"},
	{name: "last words from the log", spec: never(sh("echo one; echo two >&2; exit 1", fromLog)), until: "phase: Failed"},
	{name: "last words from a long log", spec: never(sh(`i=0; while [ $i -lt 200 ]; do echo "line $i of the log"; i=$((i+1)); done; exit 1`, fromLog)), until: "phase: Failed"},
	{name: "no last words from the log of one that ends well", spec: never(sh("echo one", fromLog)), until: "phase: Succeeded"},
	{name: "last words before the log", spec: never(sh("echo in the log; echo in the file > /dev/termination-log; exit 1", fromLog)), until: "phase: Failed"},
	{name: "last words of one that is started again", spec: always(sh("echo because > /dev/termination-log; exit 1")), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},

	{name: "a command that is not there, Always", spec: always(container("c", busybox, "command: [/not/there]")), until: "c: waiting CrashLoopBackOff or terminated or waiting RunContainerError; c restarts: 1", short: true},
	{name: "a command that is not there, OnFailure", spec: onFailure(container("c", busybox, "command: [/not/there]")), until: "c: waiting CrashLoopBackOff or terminated or waiting RunContainerError; c restarts: 1"},
	{name: "a command that is not there, Never", spec: never(container("c", busybox, "command: [/not/there]")), until: "phase: Failed"},
	{name: "a command that is a directory, Never", spec: never(container("c", busybox, "command: [/etc]")), until: "phase: Failed"},
	{name: "a command that is no program, Never", spec: never(container("c", busybox, "command: [/etc/passwd]")), until: "phase: Failed"},
}

const (
	// eats takes memory without end.
	eats    = "x=abcdefgh; while :; do x=$x$x; done"
	fromLog = "terminationMessagePolicy: FallbackToLogsOnError"
	onV     = "volumeMounts: [{name: v, mountPath: /v}]"
)

// images are about images that cannot be had.
var images = []history{
	{name: "an image that is not there", spec: always(container("c", nowhere)), until: "c: waiting ImagePullBackOff", short: true},
	{name: "an image that is not there, Never", spec: never(container("c", nowhere)), until: "c: waiting ImagePullBackOff"},
	{name: "an image that may not be pulled", spec: always(container("c", nowhere, "imagePullPolicy: Never")), until: "c: waiting ErrImageNeverPull"},
	{name: "an image that is there and has to be pulled", spec: always(container("c", web, "imagePullPolicy: Always")), until: "c: waiting ImagePullBackOff"},
	{name: "an image of a bad name", spec: always(container("c", "miniplane.dev/BAD:v1")), until: "c: waiting InvalidImageName"},
	{name: "one of two images is not there", spec: always(named("a", forever), container("b", nowhere)), until: "a: running; b: waiting ImagePullBackOff"},
	{name: "one of two images has a bad name", spec: always(named("a", forever), container("b", "BAD")), until: "a: running; b: waiting InvalidImageName"},
	{name: "the image of an init container is not there", spec: always(sh(forever)).after(container("i", nowhere)), until: "init i: waiting ImagePullBackOff"},
	{name: "the image of a sidecar is not there", spec: always(sh(forever)).after(container("i", nowhere, "restartPolicy: Always")), until: "init i: waiting ImagePullBackOff"},
}

// inits are about init containers and sidecars.
var inits = []history{
	{name: "an init container, and then a server", spec: always(sh(forever)).after(named("i", "exit 0")), until: "c: running", short: true},
	{name: "an init container, and then a task", spec: never(sh("exit 0")).after(named("i", "exit 0")), until: "phase: Succeeded"},
	{name: "an init container, and then a task that fails", spec: never(sh("exit 1")).after(named("i", "exit 0")), until: "phase: Failed"},
	{name: "an init container that takes its time", spec: always(sh(forever)).after(named("i", forever)), until: "init i: running"},
	{name: "the second of three init containers takes its time", spec: always(sh(forever)).after(named("i", "exit 0"), named("j", forever), named("k", "exit 0")), until: "init j: running"},
	{name: "an init container fails, Never", spec: never(sh("exit 0")).after(named("i", "exit 1")), until: "phase: Failed", short: true},
	{name: "an init container fails, OnFailure", spec: onFailure(sh("exit 0")).after(named("i", "exit 1")), until: "init i: waiting CrashLoopBackOff or terminated; init i restarts: 1"},
	{name: "an init container fails, Always", spec: always(sh("exit 0")).after(named("i", "exit 1")), until: "init i: waiting CrashLoopBackOff or terminated; init i restarts: 1"},
	{name: "the second init container fails, Never", spec: never(sh("exit 0")).after(named("i", "exit 0"), named("j", "exit 2"), named("k", "exit 0")), until: "phase: Failed"},
	{name: "the second init container fails, Always", spec: always(sh("exit 0")).after(named("i", "exit 0"), named("j", "exit 2")), until: "init j: waiting CrashLoopBackOff or terminated; init j restarts: 1"},
	{name: "the command of an init container is not there, Never", spec: never(sh("exit 0")).after(container("i", busybox, "command: [/not/there]")), until: "phase: Failed"},
	{name: "the command of an init container is not there, Always", spec: always(sh("exit 0")).after(container("i", busybox, "command: [/not/there]")), until: "init i: waiting CrashLoopBackOff or terminated or waiting RunContainerError; init i restarts: 1"},
	{name: "a sidecar beside a server", spec: always(sh(forever)).after(sidecar("s", forever)), until: "c: running"},
	{name: "a sidecar beside a task that ends well", spec: never(sh("sleep 1")).after(sidecar("s", forever)), until: "phase: Succeeded", short: true},
	{name: "a sidecar beside a task that fails", spec: never(sh("sleep 1; exit 1")).after(sidecar("s", forever)), until: "phase: Failed"},
	{name: "a sidecar that has to be killed, beside a task", spec: never(sh("sleep 1")).after(sidecar("s", stubborn)), until: "phase: Succeeded"},
	{name: "a sidecar beside a task that fails and is tried again", spec: onFailure(sh("sleep 1; exit 1")).after(sidecar("s", forever)), until: "c: waiting CrashLoopBackOff or terminated; c restarts: 1"},
	{name: "a sidecar that ends, beside a server", spec: always(sh(forever)).after(sidecar("s", "sleep 1")), until: "c: running; init s: waiting CrashLoopBackOff or terminated; init s restarts: 1"},
	{name: "a sidecar that fails, beside a server, Never", spec: never(sh(forever)).after(sidecar("s", "sleep 1; exit 1")), until: "c: running; init s: waiting CrashLoopBackOff or terminated; init s restarts: 1"},
	{name: "a sidecar that never starts", spec: always(sh(forever)).after(sidecar("s", forever, "startupProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 60}")), until: "init s: running"},
	{name: "a sidecar that is not ready", spec: always(sh(forever)).after(sidecar("s", forever, "readinessProbe: {exec: {command: ['false']}, periodSeconds: 1}")), until: "c: running"},
	{name: "a sidecar after an init container", spec: always(sh(forever)).after(named("i", "exit 0"), sidecar("s", forever)), until: "c: running"},
	{name: "an init container after a sidecar", spec: always(sh(forever)).after(sidecar("s", forever), named("i", "exit 0")), until: "c: running"},
	{name: "an init container fails after a sidecar, Never", spec: never(sh("exit 0")).after(sidecar("s", forever), named("i", "exit 1")), until: "phase: Failed"},
	{name: "an init container fails after a sidecar, Always", spec: always(sh("exit 0")).after(sidecar("s", forever), named("i", "exit 1")), until: "init i: waiting CrashLoopBackOff or terminated; init i restarts: 1"},
	{name: "an init container takes its time after a sidecar", spec: always(sh(forever)).after(sidecar("s", forever), named("i", forever)), until: "init i: running"},
	{name: "two sidecars beside a task", spec: never(sh("sleep 1")).after(sidecar("s", forever), sidecar("t", forever)), until: "phase: Succeeded"},
}
