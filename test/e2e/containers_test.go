package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// lastWords waits until a MiniPod has succeeded, and gives its containers' termination messages.
func lastWords(t *testing.T, ns, name string) []string {
	t.Helper()
	eventually(t, patience, ns, &miniv1.MiniPodList{}, name+" succeeds", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", name, "-o", "jsonpath={.status.phase} {.status.summary}")
		return strings.HasPrefix(out, "Succeeded"), out
	})
	out := kubectl(t, ns, "get", "minipod", name, "-o", `jsonpath={range .status.containerStatuses[*]}{.state.terminated.message}{"\n"}{end}`)
	return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return line == "" })
}

// Containers of a MiniPod are in one network, one IPC and one UTS namespace, with processes and files of their own and a volume in common; another
// MiniPod shares none of it, and has another address.
func TestContainersOfAMiniPod(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	const tell = `echo $(readlink /proc/self/ns/net) $(readlink /proc/self/ns/ipc) $(readlink /proc/self/ns/uts) $(hostname) $(cat /both/word) ` +
		`$(readlink /proc/self/ns/pid) $(readlink /proc/self/ns/mnt) >/dev/termination-log`
	two := func(name string) string {
		return `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: ` + name + `}
spec:
  restartPolicy: Never
  volumes: [{name: both, emptyDir: {}}]
  containers:
  - {name: writes, image: ` + busybox + `, command: [sh, -c, "echo ` + name + `-word >/both/word; ` + tell + `"], volumeMounts: [{name: both, mountPath: /both}]}
  - {name: reads, image: ` + busybox + `, command: [sh, -c, "until [ -s /both/word ]; do sleep 1; done; ` + tell + `"], volumeMounts: [{name: both, mountPath: /both}]}
---
`
	}
	apply(t, ns, two("one")+two("other"))
	var told [][]string
	for _, name := range []string{"one", "other"} {
		words := lastWords(t, ns, name)
		if len(words) != 2 {
			t.Fatalf("%s tells %q", name, words)
		}
		a, b := strings.Fields(words[0]), strings.Fields(words[1])
		if len(a) != 7 || len(b) != 7 {
			t.Fatalf("%s tells %q", name, words)
		}
		for i, what := range []string{"network", "IPC namespace", "UTS namespace", "host name", "volume"} {
			if a[i] != b[i] {
				t.Errorf("%s: the containers differ in their %s: %s, %s", name, what, a[i], b[i])
			}
		}
		for i, what := range map[int]string{5: "processes", 6: "mounts"} {
			if a[i] == b[i] {
				t.Errorf("%s: the containers share their %s", name, what)
			}
		}
		if a[3] != name || a[4] != name+"-word" {
			t.Errorf("%s is called %s, and finds %s in its volume", name, a[3], a[4])
		}
		told = append(told, a)
	}
	for i := range told[0] {
		if told[0][i] == told[1][i] {
			t.Errorf("two MiniPods share %s", told[0][i])
		}
	}
	if addresses := strings.Fields(kubectl(t, ns, "get", "minipods", "-o", "jsonpath={.items[*].status.podIP}")); len(addresses) != 2 || addresses[0] == addresses[1] {
		t.Errorf("addresses: %v", addresses)
	}
}

// A probe can be made ten times a second. Twenty of them by whole seconds would take twenty.
func TestProbesBelowASecond(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: often}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c, "touch /n; began=$(date +%s); until [ $(wc -l </n) -ge 20 ]; do sleep 0.1; done; echo $(($(date +%s) - began)) >/dev/termination-log"]
    livenessProbe: {exec: {command: [sh, -c, "echo >>/n"]}, periodMilliseconds: 100}
`)
	words := lastWords(t, ns, "often")
	if seconds, err := strconv.Atoi(words[0]); err != nil || seconds >= 15 {
		t.Errorf("twenty probes took %q seconds", words)
	}
}

// The files of an image are a volume, also of one that has no program; its tag may go on to another.
func TestImageVolume(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: files}
spec:
  restartPolicy: Never
  volumes:
  - {name: echo, image: {reference: `+imageV1+`, pullPolicy: IfNotPresent}}
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c, "(ls /files; touch /files/x || echo cannot write; /files/echo -h || echo cannot run) 2>/dev/null | tr '\\n' ' ' >/dev/termination-log"]
    volumeMounts: [{name: echo, mountPath: /files}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: missing}
spec:
  volumes:
  - {name: none, image: {reference: "miniplane.dev/nothing:v1", pullPolicy: Never}}
  containers:
  - {name: main, image: `+busybox+`, command: [sleep, "100000"], volumeMounts: [{name: none, mountPath: /files}]}
`)
	out := strings.Join(lastWords(t, ns, "files"), " ")
	for _, want := range []string{"echo", "cannot write", "cannot run"} {
		if !strings.Contains(out, want) {
			t.Errorf("the container tells %q, want %q", out, want)
		}
	}
	waitEvent(t, ns, "FailedMount", `miniplane.dev/nothing:v1`)
	if out := kubectl(t, ns, "get", "minipod", "missing", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}"); out != "ContainerCreating" {
		t.Errorf("it waits as %q", out)
	}
	kubectl(t, ns, "delete", "minipods", "--all", "--timeout=60s")
}

// An image is on a node before it is needed, where a MiniPod has it as a volume: what comes later pulls nothing.
func TestImageBeforehand(t *testing.T) {
	ns := namespace(t)
	host, _, _ := cluster.registry()
	image, node := host+"/open/echo:v1", cluster.nodes(t)[0].name
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: keeps}
spec:
  nodeName: `+node+`
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: echo, image: {reference: "`+image+`"}}
  containers:
  - {name: main, image: `+busybox+`, command: [sleep, "100000"], volumeMounts: [{name: echo, mountPath: /images/echo}]}
`)
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/keeps")
	apply(t, ns, imagePod("later", image, "Never", "  nodeName: "+node))
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/later")
	kubectl(t, ns, "delete", "minipods", "--all", "--timeout=60s")
}
