package containerd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// holdServers has servers not come up until the function that it returns is called.
func (n *node) holdServers(t *testing.T) (release func()) {
	t.Helper()
	run, err := os.Readlink(filepath.Join(n.opts.Shim, "run"))
	must(t, err)
	must(t, os.MkdirAll(run, 0o700))
	var locks []*os.File
	for i := range 8 {
		lock, err := os.OpenFile(filepath.Join(run, strconv.Itoa(i)+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
		must(t, err)
		must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		locks = append(locks, lock)
	}
	release = func() {
		for _, lock := range locks {
			_ = lock.Close()
		}
	}
	t.Cleanup(release)
	return release
}

// TestStartLeavesWhatIsBeingMade: a bundle that another agent's start is making, whose server does not listen yet, is not in the way of this one's.
func TestStartLeavesWhatIsBeingMade(t *testing.T) {
	n := newNode(t)
	r, next := n.runtime(t), n.runtime(t)
	release := n.holdServers(t)
	spec := runtime.ContainerSpec{ID: "making", Group: "making", Image: busybox, Command: shell("exit 6"),
		CgroupPath: filepath.Join(n.parent, "podmaking", "making"), LogPath: filepath.Join(n.Dir, "making.log")}
	must(t, r.Create(t.Context(), spec))
	started := make(chan error, 1)
	go func() { started <- r.Start(t.Context(), spec.ID) }()
	bundle := filepath.Join(n.Dir, "state", "io.containerd.runtime.v2.task", "miniplane", spec.ID)
	eventually(t, func() string {
		if _, err := os.Stat(filepath.Join(bundle, "config.json")); err != nil {
			return err.Error()
		}
		return ""
	})
	before, err := os.Stat(bundle)
	must(t, err)
	second := make(chan error, 1)
	go func() { second <- next.Start(t.Context(), spec.ID) }()
	select {
	case err := <-second:
		t.Logf("the second start: %v", err)
		if !runtime.IsUnanswered(err) {
			t.Error("that the container is being made was taken for an answer about it")
		}
	case <-t.Context().Done():
	}
	if after, err := os.Stat(bundle); err != nil || !os.SameFile(before, after) {
		t.Errorf("the bundle of a container that is being made was taken away: %v", err)
	}
	release()
	if err := <-started; err != nil {
		t.Errorf("the first start: %v", err)
	}
	if c := awaits(t, next, spec.ID, runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	must(t, next.Remove(t.Context(), spec.ID))
}

// TestSweepBesideAStoppedServer: a containerd that starts anew while a server does not answer forgets its containers and removes their bundles.
// A sweep takes nothing of theirs away.
func TestSweepBesideAStoppedServer(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	pids, stopped := map[string]int{}, map[int]bool{}
	for _, id := range []string{"heard", "unheard"} {
		output(t, n.start(t, r, id, "echo ready; while :; do sleep 0.1; done"), "ready")
		pids[id] = awaits(t, r, id, runtime.StateRunning).PID
		stopped[parent(t, pids[id])] = true
	}
	must(t, r.Unhear("unheard"))
	for server := range stopped {
		must(t, syscall.Kill(server, syscall.SIGSTOP))
	}
	t.Cleanup(func() {
		for server := range stopped {
			_ = syscall.Kill(server, syscall.SIGCONT)
		}
	})
	n.Kill()
	n.Run(t)
	next := n.runtime(t)
	next.Hasten(0)
	for range 3 {
		must(t, next.Sweep(t.Context()))
		for id, pid := range pids {
			if c := awaits(t, next, id, runtime.StateRunning); c.PID != pid {
				t.Errorf("%s: %+v, and process %d before", id, c, pid)
			}
		}
	}
	for server := range stopped {
		must(t, syscall.Kill(server, syscall.SIGCONT))
	}
	must(t, next.Sweep(t.Context()))
	for server := range stopped { // or it takes what ended away itself, a while later
		must(t, syscall.Kill(server, syscall.SIGKILL))
		ends(t, "a killed server", server)
	}
	must(t, next.Sweep(t.Context()))
	for id, pid := range pids {
		if c := awaits(t, next, id, runtime.StateRunning); c.PID != pid {
			t.Errorf("%s: %+v, and process %d before", id, c, pid)
		}
	}
}

// TestSweepAfterTheClockWasSet: what was made before the clock was set back seems to be younger than the servers that came since. It is found
// all the same; and nothing is taken from a server that lives, whatever the times say.
func TestSweepAfterTheClockWasSet(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec, task := n.halfStarted(t, r, "half")
	n.abandoned(t, r, map[string]int{spec.ID: int(task.Pid)})
	others, _ := several(t, n, r, 4)
	must(t, r.Unhear("several-0"))
	mine, waits := n.halfStarted(t, r, "mine")
	ahead := time.Now().Add(time.Hour)
	bundles, err := filepath.Glob(filepath.Join(n.Dir, "state", "*", "miniplane", "*"))
	must(t, err)
	if len(bundles) != 6 {
		t.Fatalf("bundles %v", bundles)
	}
	for _, bundle := range bundles {
		must(t, os.Chtimes(bundle, ahead, ahead))
	}
	n.sweeps(t, r, spec.ID, int(task.Pid))
	run, err := os.Readlink(filepath.Join(n.opts.Shim, "run"))
	must(t, err)
	for server := range 4 { // and the other way round
		later := ahead.Add(time.Hour)
		must(t, os.Chtimes(filepath.Join(run, strconv.Itoa(server)), later, later))
	}
	for range 3 {
		must(t, r.Sweep(t.Context()))
	}
	if !alive(int(waits.Pid)) {
		t.Error("a container that its server is about to start was ended")
	}
	for id, pid := range others {
		if c := awaits(t, r, id, runtime.StateRunning); c.PID != pid {
			t.Errorf("%s: %+v, and process %d before", id, c, pid)
		}
	}
	must(t, r.Start(t.Context(), mine.ID))
	if c := awaits(t, r, mine.ID, runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	for _, id := range []string{spec.ID, mine.ID} {
		must(t, r.Remove(t.Context(), id))
	}
}
