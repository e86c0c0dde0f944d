package containerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
)

// breakDelete has containerd's next calls of the shim's "delete" fail, as they do on a machine that takes longer than containerd waits for,
// until the function that it returns is called. Servers that run do not notice.
func (n *node) breakDelete(t *testing.T) (restore func()) {
	t.Helper()
	program := filepath.Join(n.opts.Shim, "server")
	must(t, os.Rename(program, program+".kept"))
	must(t, os.WriteFile(program, []byte("#!/bin/sh\nexit 1\n"), 0o700))
	restore = sync.OnceFunc(func() { must(t, os.Rename(program+".kept", program)) })
	t.Cleanup(restore)
	return restore
}

// abandoned kills the servers of processes while "delete" fails, and waits until containerd has given up on their containers.
func (n *node) abandoned(t *testing.T, r *containerd.Runtime, pids map[string]int) {
	t.Helper()
	events, err := r.Events(t.Context())
	must(t, err)
	restore := n.breakDelete(t)
	servers := map[int]bool{}
	for _, pid := range pids {
		servers[parent(t, pid)] = true
	}
	for server := range servers {
		must(t, syscall.Kill(server, syscall.SIGKILL))
	}
	for heard := map[string]bool{}; len(heard) < len(pids); {
		if id := told(t, events, runtime.EventExited).ContainerID; pids[id] != 0 {
			heard[id] = true
		}
	}
	restore()
	for id, pid := range pids {
		if len(n.leftovers(id)) == 0 || !alive(pid) {
			t.Fatalf("%s: nothing to do: process %d lives: %t, left %v", id, pid, alive(pid), n.leftovers(id))
		}
	}
}

// sweeps sweeps until a container left nothing and its process ended.
func (n *node) sweeps(t *testing.T, r *containerd.Runtime, id string, pid int) {
	t.Helper()
	r.Hasten(time.Millisecond)
	eventually(t, func() string {
		must(t, r.Sweep(t.Context()))
		if left := n.leftovers(id); len(left) > 0 || alive(pid) {
			return fmt.Sprintf("of %s, process %d lives: %t, left %v", id, pid, alive(pid), left)
		}
		return ""
	})
}

// TestSweepClearsLeftovers: what containerd left of containers that were not let go when their server failed, a sweep takes away, and they
// are started anew. Those that were let go live on, also where nobody heard of it, and those of other servers do not notice.
func TestSweepClearsLeftovers(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	const forever = "echo ready; while :; do sleep 0.1; done"
	spec, half := n.halfStarted(t, r, "half")
	marked, other := n.halfStarted(t, r, "marked")
	must(t, r.Mark(marked.ID, int(other.Pid)))
	pids := map[string]int{spec.ID: int(half.Pid), marked.ID: int(other.Pid)}
	for _, id := range []string{"heard", "unheard"} {
		output(t, n.start(t, r, id, forever), "ready")
		pids[id] = awaits(t, r, id, runtime.StateRunning).PID
	}
	must(t, r.Unhear("unheard"))
	n.abandoned(t, r, pids)
	others, _ := several(t, n, r, 4)
	awaits(t, r, marked.ID, runtime.StateUnanswered)

	next := n.runtime(t)
	n.sweeps(t, next, spec.ID, pids[spec.ID])
	n.sweeps(t, next, marked.ID, pids[marked.ID])
	for range 2 {
		must(t, next.Sweep(t.Context()))
	}
	for _, id := range []string{"heard", "unheard"} {
		others[id] = pids[id]
	}
	for id, pid := range others {
		if c := awaits(t, next, id, runtime.StateRunning); c.PID != pid {
			t.Errorf("%s: %+v, and process %d before", id, c, pid)
		}
	}
	awaits(t, next, marked.ID, runtime.StateUnknown)
	awaits(t, next, spec.ID, runtime.StateCreated)
	must(t, next.Start(t.Context(), spec.ID))
	if c := awaits(t, next, spec.ID, runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	must(t, next.Kill(t.Context(), "heard", runtime.SIGKILL))
	n.sweeps(t, next, "heard", pids["heard"])
	for _, id := range []string{spec.ID, marked.ID} {
		must(t, next.Remove(t.Context(), id))
	}
}

// TestSweepWithoutBundle: a containerd that starts anew removes the bundle although "delete" failed; the init and its cgroup are found all the same.
func TestSweepWithoutBundle(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec, task := n.halfStarted(t, r, "half")
	pid := int(task.Pid)
	n.abandoned(t, r, map[string]int{spec.ID: pid})
	restore := n.breakDelete(t)
	n.Kill()
	n.Run(t)
	restore()
	if left := n.leftovers(spec.ID); !alive(pid) || len(left) != 2 {
		t.Fatalf("left %v, process lives: %t", left, alive(pid))
	}
	n.sweeps(t, n.runtime(t), spec.ID, pid)
	must(t, r.Remove(t.Context(), spec.ID))
}

// TestSweepClearsAsides: what a "delete" that was broken off had put aside goes too.
func TestSweepClearsAsides(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	run, err := os.Readlink(filepath.Join(n.opts.Shim, "run"))
	must(t, err)
	aside := filepath.Join(run, "c", ".gone")
	must(t, os.MkdirAll(filepath.Join(aside, "some"), 0o700))
	must(t, r.Sweep(t.Context()))
	if _, err := os.Lstat(aside); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", aside, err)
	}
}

// TestLeftoversInTheWay: who starts or removes a container does not wait for a sweep.
func TestLeftoversInTheWay(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	again, first := n.halfStarted(t, r, "again")
	removed, second := n.halfStarted(t, r, "removed")
	output(t, n.start(t, r, "orphan", "echo ready; while :; do sleep 0.1; done"), "ready")
	pids := map[string]int{again.ID: int(first.Pid), removed.ID: int(second.Pid), "orphan": awaits(t, r, "orphan", runtime.StateRunning).PID}
	n.abandoned(t, r, pids)
	eventually(t, func() string { // containerd says that it is there, and that it is not, while it forgets it
		if err := r.Start(t.Context(), again.ID); err != nil {
			return err.Error()
		}
		return ""
	})
	if c := awaits(t, r, again.ID, runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	for id, pid := range pids {
		must(t, r.Remove(t.Context(), id))
		if left := n.leftovers(id); len(left) > 0 {
			t.Errorf("of %s left: %v", id, left)
		}
		ends(t, id, pid)
	}
}

// TestSweepWaitsForProof: as long as a server is there, and be it that it does not answer, nothing of its containers is left over.
func TestSweepWaitsForProof(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec, task := n.halfStarted(t, r, "half")
	victim := parent(t, int(task.Pid))
	must(t, syscall.Kill(victim, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(victim, syscall.SIGCONT) }()
	r.Hasten(0)
	before := strings.Join(n.leftovers(spec.ID), " ")
	for range 3 {
		must(t, r.Sweep(t.Context()))
	}
	if left := strings.Join(n.leftovers(spec.ID), " "); left != before || !alive(int(task.Pid)) {
		t.Errorf("left %s of %s, process lives: %t", left, before, alive(int(task.Pid)))
	}
	must(t, syscall.Kill(victim, syscall.SIGCONT))
	must(t, r.Start(t.Context(), spec.ID))
	if c := awaits(t, r, spec.ID, runtime.StateExited); c.ExitCode != 6 || c.PID != 0 {
		t.Errorf("%+v", c)
	}
	must(t, r.Remove(t.Context(), spec.ID))
}
