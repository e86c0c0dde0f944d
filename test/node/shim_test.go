package node

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// several MiniPods, as they are when they run. Each has a command line of its own.
func (e *env) several(count int) map[string]*miniv1.MiniPod {
	e.t.Helper()
	out := map[string]*miniv1.MiniPod{}
	for i := range count {
		e.run(e.sh(fmt.Sprintf("p-%d", i), fmt.Sprintf("exec sleep 10000%d", i)))
	}
	for i := range count {
		pod := e.shows(fmt.Sprintf("p-%d", i), "Running")
		out[pod.Name] = pod
	}
	return out
}

// processes whose command lines match.
func processes(t *testing.T, flag, pattern string) []int {
	t.Helper()
	found, _ := exec.Command("pgrep", flag, pattern).Output() // fails if there are none
	var out []int
	for text := range strings.FieldsSeq(string(found)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

// servers of containers, of whichever shim.
func (e *env) servers(t *testing.T) []int {
	t.Helper()
	own := processes(t, "-f", "containerd-shim-miniplane.*"+e.containerd.Address+".* serve")
	runc := processes(t, "-f", "containerd-shim-runc-v2 .*-address "+e.containerd.Address)
	if len(own)+len(runc) == 0 {
		t.Fatal("there are no servers")
	}
	return append(own, runc...)
}

func signalAll(t *testing.T, pids []int, signal syscall.Signal) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
	}
}

// unchanged checks for a time, in which the agent looks at the whole node more than once, that MiniPods are what they were.
func (e *env) unchanged(t *testing.T, before map[string]*miniv1.MiniPod, during time.Duration) {
	t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); <-time.After(500 * time.Millisecond) {
		for name, old := range before {
			pod := e.get(name)
			if pod == nil || pod.Status.Restarts != old.Status.Restarts || pod.Status.Summary != "Running" ||
				pod.Status.ContainerStatuses[0].ContainerID != old.Status.ContainerStatuses[0].ContainerID {
				t.Fatalf("%s noticed: %+v", name, pod)
			}
		}
	}
	for i := range len(before) {
		if found := processes(t, "-xf", fmt.Sprintf("sleep 10000%d", i)); len(found) != 1 {
			t.Errorf("p-%d has processes %v", i, found)
		}
	}
}

// TestShimStopped: servers that do not answer, for longer than the time between two looks at the node, change nothing; nor does their
// coming back.
func TestShimStopped(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, flags...)
			before := e.several(4)
			servers := e.servers(t)
			signalAll(t, servers, syscall.SIGSTOP)
			defer func() {
				for _, pid := range servers {
					_ = syscall.Kill(pid, syscall.SIGCONT) // or it has ended
				}
			}()
			e.unchanged(t, before, 8*time.Second)
			e.kill()
			e.start() // which knows nothing yet
			e.unchanged(t, before, 8*time.Second)
			signalAll(t, servers, syscall.SIGCONT)
			e.unchanged(t, before, 6*time.Second)
			e.deleteAll()
			e.clean()
		})
	}
}

// TestShimKilled kills every server of our shim: its containers go on, under this agent and the next, and end as they do otherwise.
func TestShimKilled(t *testing.T) {
	e := newEnv(t)
	before := e.several(4)
	signalAll(t, e.servers(t), syscall.SIGKILL)
	e.unchanged(t, before, 8*time.Second)
	e.kill()
	e.start()
	e.unchanged(t, before, 8*time.Second)
	signalAll(t, processes(t, "-xf", "sleep 100000"), syscall.SIGKILL)
	e.until("p-0 runs again", func() bool {
		pod := e.get("p-0")
		return pod.Status.Restarts == 1 && pod.Status.Summary == "Running"
	})
	last := e.get("p-0").Status.ContainerStatuses[0].LastState.Terminated
	if last == nil || last.ExitCode != 137 || last.Reason != miniv1.ReasonError && last.Reason != "ContainerStatusUnknown" {
		t.Errorf("last state %+v", last)
	}
	e.run(e.sh("later", "exec sleep 1000000"))
	e.shows("later", "Running")
	e.deleteAll()
	e.clean()
}

// TestRuncShimKilled: runc's shim takes its containers along. That is said, and is not held against them: they are restarted at once,
// every time, with their addresses kept, and nothing is left of the old ones.
func TestRuncShimKilled(t *testing.T) {
	e := newEnv(t, shims["runc"]...)
	before := e.several(2)
	for round := range int32(3) {
		signalAll(t, e.servers(t), syscall.SIGKILL)
		for name, old := range before {
			e.until(name+" runs again", func() bool {
				pod := e.get(name)
				return pod.Status.Restarts == round+1 && pod.Status.Summary == "Running"
			})
			pod := e.get(name)
			if last := pod.Status.ContainerStatuses[0].LastState.Terminated; last == nil || last.Reason != miniv1.ReasonShimFailed {
				t.Errorf("%s: last state %+v", name, last)
			}
			if pod.Status.PodIP != old.Status.PodIP {
				t.Errorf("%s had address %s and has %s", name, old.Status.PodIP, pod.Status.PodIP)
			}
		}
	}
	e.deleteAll()
	e.clean()
}
