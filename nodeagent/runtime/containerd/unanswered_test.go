package containerd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"

	"github.com/opencontainers/runc/libcontainer"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// TestServerStopped: a server that does not answer changes nothing of what is told of its containers that run, and costs those
// of others nothing. What ended without its word is not told as ended. Both shims.
func TestServerStopped(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) { testServerStopped(t, node(t)) })
	}
}

func testServerStopped(t *testing.T, n *node) {
	r := n.runtime(t)
	pids, servers := several(t, n, r, 8)
	victim := servers["several-0"]
	must(t, syscall.Kill(victim, syscall.SIGSTOP))
	resume := func() { _ = syscall.Kill(victim, syscall.SIGCONT) }
	defer resume()
	next := n.runtime(t) // an agent that comes now sees the same
	for _, r := range []runtime.Runtime{r, next} {
		began := time.Now()
		list, err := r.List(t.Context())
		must(t, err)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a list took %v", took)
		}
		for id, pid := range pids {
			i := slices.IndexFunc(list, func(c runtime.Container) bool { return c.ID == id })
			if i < 0 || list[i].State != runtime.StateRunning || list[i].PID != pid {
				t.Errorf("%s (process %d): %+v", id, pid, list)
			}
		}
	}
	must(t, r.Kill(t.Context(), "several-0", runtime.SIGKILL)) // which needs no server
	awaits(t, next, "several-0", runtime.StateUnanswered)
	if err := r.Kill(t.Context(), "several-0", runtime.SIGKILL); !errdefs.IsUnavailable(err) {
		t.Errorf("kill: %v, want Unavailable", err)
	}
	for id, server := range servers {
		if server != victim {
			must(t, r.Kill(t.Context(), id, runtime.SIGKILL))
			awaits(t, r, id, runtime.StateExited)
			break
		}
	}
	resume()
	if c := awaits(t, next, "several-0", runtime.StateExited); c.ExitCode != 137 {
		t.Errorf("heard of again: %+v", c)
	}
}

// TestGivenUpWhileItStarts: a start that is given up at whatever moment, with its process killed and with a server that hangs then or goes
// on, leaves nothing once the container is removed.
func TestGivenUpWhileItStarts(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	n.start(t, r, "server", "while :; do sleep 1; done") // so that there is one
	server := parent(t, awaits(t, r, "server", runtime.StateRunning).PID)
	own := children(t, server)
	states, err := filepath.Glob(n.opts.StateDir + "/shim-*/c")
	must(t, err)
	for i := range 48 {
		spec := runtime.ContainerSpec{ID: fmt.Sprintf("given-up-%d", i), Group: "server", Image: busybox, Command: shell("exit 6"),
			LogPath: filepath.Join(n.Dir, "given-up.log")}
		pod := filepath.Join(n.parent, "pod"+spec.ID)
		spec.CgroupPath = filepath.Join(pod, spec.ID)
		must(t, cgroup.Create(pod))
		must(t, r.Create(t.Context(), spec))
		ctx, giveUp := context.WithCancel(t.Context())
		started := make(chan struct{})
		go func() {
			defer close(started)
			_ = r.Start(ctx, spec.ID)
		}()
		for !atMoment(filepath.Join(states[0], spec.ID, "state.json"), i) { // which is too short to be slept for
		}
		if i%4 != 0 {
			must(t, syscall.Kill(server, syscall.SIGSTOP))
		}
		giveUp()
		must(t, cgroup.Remove(t.Context(), pod)) // as a removal does, which needs no server
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_ = r.Remove(impatient, spec.ID)
		cancel()
		must(t, syscall.Kill(server, syscall.SIGCONT))
		<-started
		eventually(t, func() string {
			if err := r.Remove(t.Context(), spec.ID); err != nil {
				return err.Error()
			}
			if cgroup.Exists(pod) {
				return "the MiniPod's cgroup was made again"
			}
			return strings.Join(n.leftovers(spec.ID), " ")
		})
	}
	eventually(t, func() string {
		if left := slices.DeleteFunc(children(t, server), func(pid string) bool { return slices.Contains(own, pid) }); len(left) > 0 {
			stat, _ := os.ReadFile("/proc/" + left[0] + "/stat")
			return fmt.Sprintf("the server still has %d processes; the first: %s", len(left), stat)
		}
		return ""
	})
}

// atMoment tells whether a start has come to one of its moments: its process is there, it has done all that it does alone, or something between.
func atMoment(state string, which int) bool {
	text, err := os.ReadFile(state)
	if err != nil {
		return false
	}
	var init libcontainer.BaseState
	if json.Unmarshal(text, &init) != nil {
		return false
	}
	if which%2 == 0 {
		for began := time.Now(); time.Since(began) < time.Duration(which)*400*time.Microsecond; {
		}
		return true
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		at, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", init.InitProcessPid))
		if err != nil || string(at) == "wait_for_partner" { // it opens the FIFO by which it is let go
			break
		}
	}
	return true
}

// children of a process, also those that ended and were not collected.
func children(t *testing.T, pid int) (out []string) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	must(t, err)
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		out = append(out, strings.Fields(string(text))...)
	}
	return out
}

// TestRemoveAnsweredLate: a removal whose answer came when nobody waited for it any more is finished by the next: containerd has forgotten
// nothing by itself.
func TestRemoveAnsweredLate(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := n.start(t, r, "late", "while :; do sleep 1; done")
	pid := awaits(t, r, spec.ID, runtime.StateRunning).PID
	victim := parent(t, pid)
	must(t, r.Kill(t.Context(), spec.ID, runtime.SIGKILL))
	awaits(t, r, spec.ID, runtime.StateExited)
	must(t, syscall.Kill(victim, syscall.SIGSTOP))
	c := n.Client(t)
	defer c.Close()
	impatient, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.TaskService().Delete(impatient, &tasks.DeleteTaskRequest{ContainerID: spec.ID}); err == nil {
		t.Error("a server that is stopped has answered")
	}
	must(t, syscall.Kill(victim, syscall.SIGCONT))
	eventually(t, func() string {
		_, err := c.TaskService().Get(t.Context(), &tasks.GetRequest{ContainerID: spec.ID})
		if err == nil {
			return "the server has not deleted it"
		}
		return ""
	})
	must(t, r.Remove(t.Context(), spec.ID))
	if left := n.leftovers(spec.ID); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
