package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// former are the programs nodeagent, pause and shim of an earlier version: MINIPLANE_TEST_FORMER=DIR.
func former(t *testing.T) programs {
	t.Helper()
	dir := os.Getenv("MINIPLANE_TEST_FORMER")
	if dir == "" {
		t.Skip("SKIPPED: MINIPLANE_TEST_FORMER names no directory with the programs nodeagent, pause and shim of an earlier version")
	}
	return programs{agent: filepath.Join(dir, "nodeagent"), pause: filepath.Join(dir, "pause"), shim: filepath.Join(dir, "shim")}
}

// execute runs a command in a MiniPod's container, as an operator does on the node.
func (e *env) execute(pod *miniv1.MiniPod, args ...string) (string, error) {
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	ctr := append([]string{"-a", e.containerd.Address, "-n", "miniplane", "tasks", "exec", "--exec-id", "try", id}, args...)
	out, err := exec.Command(filepath.Join(e.containerd.Bin, "ctr"), ctr...).CombinedOutput()
	return string(out), err
}

// TestUpgradeFromFormer: what an earlier version started runs on under this one, with the servers that it has, and is restarted, stopped
// with its grace, executed in and removed as if this one had started it; and the other way round, because an upgrade may be taken back.
func TestUpgradeFromFormer(t *testing.T) {
	before := former(t)
	e := newEnvOf(t, before)
	old := e.several(8)
	grace := func(p *miniv1.MiniPod) { seconds := int64(60); p.Spec.TerminationGracePeriodSeconds = &seconds }
	const lastWords = "trap 'echo last words; sleep 1; echo the very last; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
	for _, name := range []string{"ends-later", "ends-after-return"} {
		e.run(e.sh(name, lastWords, grace))
	}
	e.shows("ends-later", "Running")
	ends := e.shows("ends-after-return", "Running")
	oldServers := e.servers(t)

	e.term()
	e.programs = ofThisTree(t)
	e.start()
	e.unchanged(t, old, 12*time.Second)
	if shims, _ := filepath.Glob(filepath.Join(e.rootDir(), "bin", "shim-*")); len(shims) != 2 {
		t.Fatalf("shims of two versions should be installed: %v", shims)
	}
	if out, err := e.execute(old["p-1"], "busybox", "echo", "executed"); err != nil || !strings.Contains(out, "executed") {
		t.Errorf("executed: %q, %v", out, err)
	}
	e.endsInOrder("ends-later")
	e.run(e.sh("new", "exec sleep 1000000"))
	fresh := e.shows("new", "Running")
	signalAll(t, processes(t, "-xf", "sleep 100000"), syscall.SIGKILL) // p-0's
	e.until("p-0 runs again", func() bool {
		pod := e.get("p-0")
		return pod.Status.Restarts == 1 && pod.Status.Summary == "Running"
	})
	again := e.get("p-0")
	if last := again.Status.ContainerStatuses[0].LastState.Terminated; last == nil || last.ExitCode != 137 || last.Reason != miniv1.ReasonError {
		t.Errorf("p-0 ended as %+v", last)
	}

	e.term()
	e.programs = before
	e.start()
	delete(old, "p-0")
	e.unchanged(t, old, 12*time.Second)
	e.unchanged(t, map[string]*miniv1.MiniPod{"new": fresh, "p-0": again}, 3*time.Second)

	e.term()
	e.programs = ofThisTree(t)
	e.start()
	e.unchanged(t, map[string]*miniv1.MiniPod{"new": fresh, "p-0": again, "ends-after-return": ends}, 6*time.Second)
	e.endsInOrder("ends-after-return")

	// Servers of a version that takes its containers along: it is told, and not held against them.
	signalAll(t, oldServers, syscall.SIGKILL)
	for name := range old {
		var pod *miniv1.MiniPod
		e.until(name+" runs again", func() bool {
			pod = e.get(name)
			return pod.Status.Restarts == 1 && pod.Status.Summary == "Running"
		})
		if last := pod.Status.ContainerStatuses[0].LastState.Terminated; last == nil || last.Reason != miniv1.ReasonShimFailed {
			t.Errorf("%s: last state %+v", name, last)
		}
	}
	e.unchanged(t, map[string]*miniv1.MiniPod{"new": fresh, "p-0": again}, time.Second)
	e.deleteAll()
	e.clean()
}

// endsInOrder deletes a MiniPod, which is to get its signal and the time that it takes.
func (e *env) endsInOrder(name string) {
	e.t.Helper()
	pod, began := e.get(name), time.Now()
	e.delete(name)
	var log string
	e.until(name+" says its last words", func() bool {
		if now := e.logOf(pod); now != "" {
			log = now
		}
		return strings.Contains(log, "the very last") || e.get(name) == nil
	})
	e.gone(name)
	if took := time.Since(began); !strings.Contains(log, "last words") || took > 40*time.Second {
		e.t.Errorf("%s ended after %s and said:\n%s", name, took, log)
	}
}
