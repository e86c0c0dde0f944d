package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The sample, as kubectl shows it.
func TestHooksSample(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	sample, err := os.ReadFile("../../config/samples/minipod-hooks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, ns, string(sample))
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/hello-hooks")
	began := time.Now()
	kubectl(t, ns, "delete", "minipod", "hello-hooks", "--timeout=60s")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("its preStop sleeps for two seconds, and it was gone after %s", took)
	}
}

// A native Pod's manifest with hooks, a stop signal and the field that goes with it: only apiVersion and kind are others.
func TestHooks(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: works}
spec:
  os: {name: linux}
  terminationGracePeriodSeconds: 60
  initContainers:
  - name: side
    image: `+busybox+`
    restartPolicy: Always
    command: [sh, -c, "trap 'exit 0' TERM; mkdir -p /tmp; while :; do sleep 0.1; done"]
    lifecycle: {postStart: {exec: {command: [sh, -c, "sleep 1; echo yes >/dev/shm/side"]}}}
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c, "trap '' TERM; trap 'test -e /dev/shm/prepared && exit 0; exit 9' USR1; cp /dev/shm/side /dev/shm/main; while :; do sleep 0.1; done"]
    lifecycle:
      stopSignal: SIGUSR1
      postStart: {exec: {command: [sh, -c, "test -e /dev/shm/side"]}}
      preStop: {exec: {command: [touch, /dev/shm/prepared]}}
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: fails}
spec:
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle: {postStart: {exec: {command: [sh, -c, "echo it does not work; exit 4"]}}}
`)
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/works")
	if out := kubectl(t, ns, "get", "minipod", "works", "-o", "jsonpath={.status.restarts}"); out != "0" {
		t.Errorf("%s restarts", out)
	}
	waitEvent(t, ns, "FailedPostStartHook", "container main: postStart failed: command ended with 4: it does not work")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it waits to be started again", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "fails", "--no-headers")
		return strings.Contains(out, "CrashLoopBackOff"), out
	})
	began := time.Now()
	kubectl(t, ns, "delete", "minipod", "works", "--timeout=90s")
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("it ignored its stop signal: it was gone after %s", took)
	}
}
