package containerd_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
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
