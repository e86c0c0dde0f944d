package containerd_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/test/containerdenv"
)

// several starts containers and tells which server each has.
func several(t *testing.T, n *node, r *containerd.Runtime, count int) (pids, servers map[string]int) {
	t.Helper()
	pids, servers = map[string]int{}, map[string]int{}
	for i := range count {
		id := fmt.Sprintf("several-%d", i)
		n.start(t, r, id, "while :; do sleep 1; done")
		pids[id] = awaits(t, r, id, runtime.StateRunning).PID
		servers[id] = parent(t, pids[id])
	}
	return pids, servers
}

// TestServersAreBounded: a server has as many MiniPods as it may and no more, also for an agent and a containerd that came later; one that
// nobody needs any more goes, and its number is used again. Each container is in its own cgroup of every hierarchy that limits.
func TestServersAreBounded(t *testing.T) {
	n := newNode(t)
	n.opts.GroupsPerServer = 2
	r := n.runtime(t)
	pids, servers := several(t, n, r, 6)
	n.Kill()
	n.Run(t)
	r = n.runtime(t)
	for i := 6; i < 9; i++ {
		id := fmt.Sprintf("several-%d", i)
		n.start(t, r, id, "while :; do sleep 1; done")
		pids[id] = awaits(t, r, id, runtime.StateRunning).PID
		servers[id] = parent(t, pids[id])
	}
	distinct := map[int]int{}
	for _, pid := range servers {
		distinct[pid]++
	}
	for pid, count := range distinct {
		if count > 2 {
			t.Errorf("server %d has %d MiniPods", pid, count)
		}
	}
	if len(distinct) != 5 {
		t.Errorf("9 MiniPods have %d servers, want 5", len(distinct))
	}
	fifth := servers["several-8"]
	must(t, r.Remove(t.Context(), "several-8"))
	must(t, syscall.Kill(fifth, syscall.SIGTERM)) // which it does by itself after a while
	ends(t, "a server without containers", fifth)
	delete(pids, "several-8")
	delete(distinct, fifth)
	n.start(t, r, "several-9", "exit 3")
	if c := awaits(t, r, "several-9", runtime.StateExited); c.ExitCode != 3 {
		t.Errorf("%+v", c)
	}
	for id, pid := range pids {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		must(t, err)
		for line := range strings.Lines(string(groups)) {
			if _, where, _ := strings.Cut(line, ":"); !strings.HasSuffix(where, "/"+id+"\n") && !strings.HasPrefix(line, "0::") {
				t.Errorf("%s is in %q", id, line)
			}
		}
	}
	for pid := range distinct { // no thread of a server stays where it was for a moment
		eventually(t, func() string {
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/cgroup", pid))
			for _, thread := range threads {
				if groups, _ := os.ReadFile(thread); bytes.Contains(groups, []byte(n.parent)) {
					return fmt.Sprintf("%s: %s", thread, groups)
				}
			}
			return ""
		})
	}
}

// TestNoErrorsLogged: containerd, which belongs to somebody else, finds nothing wrong in the life of a container.
func TestNoErrorsLogged(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			r := n.runtime(t)
			pids, _ := several(t, n, r, 2)
			n.start(t, r, "ended", "exit 3")
			awaits(t, r, "ended", runtime.StateExited)
			for id := range pids {
				must(t, r.Remove(t.Context(), id))
			}
			must(t, r.Remove(t.Context(), "ended"))
			log, err := os.ReadFile(filepath.Join(n.Dir, "containerd.log"))
			must(t, err)
			for line := range strings.Lines(string(log)) {
				if strings.Contains(line, "level=error") && !strings.Contains(line, "runtime=io.containerd.runc.v2") { // that shim's own
					t.Error(line)
				}
			}
		})
	}
}

// TestServerKilled: a server's containers go on without it, are told as what they are to this agent and the next, and their true end is
// told; those of others do not notice; the next container of the same MiniPod gets a new server.
func TestServerKilled(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := n.start(t, r, "ends", "trap 'echo last words >/written; cat /written; exit 7' TERM; while :; do sleep 0.1; done")
	killed := n.start(t, r, "killed", "while :; do sleep 0.1; done")
	pids := map[string]int{}
	for _, id := range []string{spec.ID, killed.ID} {
		pids[id] = awaits(t, r, id, runtime.StateRunning).PID
	}
	others, servers := several(t, n, r, 6)
	events, err := r.Events(t.Context())
	must(t, err)
	victims := map[int]bool{parent(t, pids[spec.ID]): true, parent(t, pids[killed.ID]): true}
	for victim := range victims {
		must(t, syscall.Kill(victim, syscall.SIGKILL))
	}
	for heard := map[string]bool{}; !heard[spec.ID] || !heard[killed.ID]; { // containerd tells so, because the server ended
		heard[told(t, events, runtime.EventExited).ContainerID] = true
	}
	next := n.runtime(t)
	nextEvents, err := next.Events(t.Context())
	must(t, err)
	for _, r := range []*containerd.Runtime{r, next} {
		for id, pid := range pids {
			if c := awaits(t, r, id, runtime.StateRunning); c.PID != pid {
				t.Errorf("%s: %+v, want process %d", id, c, pid)
			}
			if c, err := r.Inspect(t.Context(), id); err != nil || c.State != runtime.StateRunning {
				t.Errorf("%s: %+v, %v", id, c, err)
			}
		}
	}
	for id, server := range servers {
		if c := awaits(t, r, id, runtime.StateRunning); c.PID != others[id] || !victims[server] && parent(t, c.PID) != server {
			t.Errorf("%s noticed: %+v", id, c)
		}
	}
	must(t, r.Kill(t.Context(), spec.ID, runtime.SIGTERM))
	for _, heard := range []<-chan runtime.Event{events, nextEvents} {
		for told(t, heard, runtime.EventExited).ContainerID != spec.ID {
		}
	}
	want := runtime.StateExited
	if !tellsExits(t) {
		want = runtime.StateUnknown
	}
	if c := awaits(t, next, spec.ID, want); want == runtime.StateExited && (c.ExitCode != 7 || c.ServerFailed) {
		t.Errorf("%+v", c)
	}
	output(t, spec, "last words") // its file system and its log were there to the end
	must(t, r.Remove(t.Context(), killed.ID))
	must(t, r.Remove(t.Context(), spec.ID))
	n.start(t, r, spec.ID, "exit 3")
	if c := awaits(t, r, spec.ID, runtime.StateExited); c.ExitCode != 3 {
		t.Errorf("the next: %+v", c)
	}
}

// TestServerKilledBeforeItsAnswer: a container that its server let go, and of which nobody was told that, is not taken for ended when the
// server is killed: else a second one would be started beside it. That it runs its program the kernel shows, and its end is told as
// that of any other.
func TestServerKilledBeforeItsAnswer(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := n.start(t, r, "unheard", "echo ready; trap 'exit 7' TERM; while :; do sleep 0.1; done")
	pid := awaits(t, r, spec.ID, runtime.StateRunning).PID
	output(t, spec, "ready")
	must(t, r.Unhear(spec.ID))
	victim := parent(t, pid)
	must(t, syscall.Kill(victim, syscall.SIGKILL))
	eventually(t, func() string { // until containerd has forgotten its task
		c, err := r.Inspect(t.Context(), spec.ID)
		must(t, err)
		if c.State != runtime.StateRunning || c.PID != pid {
			t.Fatalf("%+v, and its process lives: %t", c, alive(pid))
		}
		if bundles, _ := filepath.Glob(n.Dir + "/state/*/miniplane/" + spec.ID); len(bundles) > 0 || alive(victim) {
			return strings.Join(bundles, " ")
		}
		return ""
	})
	next := n.runtime(t)
	if c := awaits(t, next, spec.ID, runtime.StateRunning); c.PID != pid {
		t.Errorf("%+v, want process %d", c, pid)
	}
	must(t, next.Kill(t.Context(), spec.ID, runtime.SIGTERM))
	want := runtime.StateExited
	if !tellsExits(t) {
		want = runtime.StateUnknown
	}
	if c := awaits(t, next, spec.ID, want); want == runtime.StateExited && c.ExitCode != 7 {
		t.Errorf("%+v", c)
	}
}

// TestServerKilledWhileItsInitWaits: of one that was not let go nothing is told but that nobody knows, as long as its process is there.
func TestServerKilledWhileItsInitWaits(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec, task := n.halfStarted(t, r, "waiting")
	pid := int(task.Pid)
	must(t, r.Mark(spec.ID, pid))
	n.abandoned(t, r, map[string]int{spec.ID: pid})
	if c, err := r.Inspect(t.Context(), spec.ID); err != nil || c.State != runtime.StateUnanswered || !alive(pid) {
		t.Errorf("%+v, %v, and its process lives: %t", c, err, alive(pid))
	}
	must(t, r.Remove(t.Context(), spec.ID))
	if alive(pid) {
		t.Error("it lives after its removal")
	}
}

// alive tells whether a process has not ended. Who collects it then is not looked at.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.HasPrefix(string(text[bytes.LastIndexByte(text, ')')+1:]), " Z")
}

// ends waits until a process has ended.
func ends(t *testing.T, what string, pid int) {
	t.Helper()
	eventually(t, func() string {
		if alive(pid) {
			return fmt.Sprintf("%s, process %d, lives", what, pid)
		}
		return ""
	})
}

// told waits for an event.
func told(t *testing.T, events <-chan runtime.Event, kind runtime.EventType) runtime.Event {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-events:
			if e.Type == kind {
				return e
			}
		case <-timeout:
			t.Fatalf("no event %s", kind)
		}
	}
}

// tellsExits tells whether the kernel tells how a process ended to whoever has a handle of it: since 6.15.
func tellsExits(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	must(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	must(t, err)
	return major > 6 || major == 6 && minor >= 15
}

// TestServerAndContainerdKilled: nobody is there to see it, and nothing is lost.
func TestServerAndContainerdKilled(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	pids, servers := several(t, n, r, 4)
	n.Kill()
	for _, server := range servers {
		_ = syscall.Kill(server, syscall.SIGKILL) // twice for some
	}
	n.Run(t)
	for id, pid := range pids {
		if c := awaits(t, r, id, runtime.StateRunning); c.PID != pid {
			t.Errorf("%s: %+v, want process %d", id, c, pid)
		}
		must(t, r.Remove(t.Context(), id))
		ends(t, id, pid) // it leaves its cgroup before it is seen to have ended
	}
}

// TestServerKilledInTheMiddle: what was not let go when its server failed does not stay, and is started anew.
func TestServerKilledInTheMiddle(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec, task := n.halfStarted(t, r, "waits")
	must(t, syscall.Kill(parent(t, int(task.Pid)), syscall.SIGKILL))
	next := n.runtime(t)
	n.sweeps(t, next, spec.ID, int(task.Pid)) // containerd does it, if it comes to that in five seconds
	awaits(t, next, spec.ID, runtime.StateCreated)
	eventually(t, func() string { // containerd says that it is there, and that it is not, while it forgets it
		if err := next.Start(t.Context(), spec.ID); err != nil {
			return err.Error()
		}
		return ""
	})
	if c := awaits(t, next, spec.ID, runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	must(t, next.Remove(t.Context(), spec.ID))
}

// TestShimUpgrade: what an earlier agent started, with runc or with another version of the shim, is this agent's all the same.
func TestShimUpgrade(t *testing.T) {
	n := newNode(t)
	current := n.opts.Shim
	changed := filepath.Join(n.Dir, "other-version")
	program, err := os.ReadFile(containerdenv.ShimBinary(t))
	must(t, err)
	must(t, os.WriteFile(changed, append(program, 0), 0o755))
	n.opts.Shim, err = containerd.InstallShim(n.opts.PauseBinary, changed, filepath.Join(n.Dir, "root-dir"), n.opts.StateDir)
	must(t, err)
	if n.opts.Shim == current {
		t.Fatal("two versions have one path")
	}
	n.start(t, n.runtime(t), "of-other", "while :; do sleep 1; done")
	n.opts.Shim = ""
	n.start(t, n.runtime(t), "of-runc", "while :; do sleep 1; done")
	n.opts.Shim = current
	r := n.runtime(t)
	n.start(t, r, "of-this", "while :; do sleep 1; done")
	parents := map[int]bool{}
	for _, id := range []string{"of-other", "of-runc", "of-this"} {
		parents[parent(t, awaits(t, r, id, runtime.StateRunning).PID)] = true
	}
	if len(parents) != 3 {
		t.Errorf("three shims have %d processes", len(parents))
	}
	for _, id := range []string{"of-other", "of-runc", "of-this"} {
		must(t, r.Kill(t.Context(), id, runtime.SIGKILL))
		if c := awaits(t, r, id, runtime.StateExited); c.ExitCode != 137 {
			t.Errorf("%s: %+v", id, c)
		}
	}
}

// TestViewOfCgroups: what a container sees in /sys/fs/cgroup is what runc would show it, and just as little can be changed.
func TestViewOfCgroups(t *testing.T) {
	n := newNode(t)
	plain := *n
	plain.opts.Shim = ""
	const script = `grep ' /sys/fs/cgroup' /proc/self/mountinfo | cut -d' ' -f4- | sed 's/master:[0-9]*/master/; s/shared:[0-9]*/shared/'
cd /sys/fs/cgroup; for f in *; do echo $f $(readlink $f) $(stat -c '%A %u' $f) $(grep -c . $f/cgroup.procs); done
for f in . */.; do mkdir $f/new && echo made $f && rmdir $f/new; done 2>/dev/null; echo done`
	for _, privileged := range []bool{false, true} {
		show := func(n *node, id string) string {
			spec := n.start(t, n.runtime(t), id, script, func(s *runtime.ContainerSpec) { s.Security.Privileged = privileged })
			var lines []string
			for line := range strings.Lines(output(t, spec, "done")) {
				lines = append(lines, strings.SplitN(line, " ", 4)[3]) // without the time
			}
			slices.Sort(lines)
			return strings.ReplaceAll(strings.Join(lines, ""), id, "ID")
		}
		want, got := show(&plain, fmt.Sprintf("runc-%t", privileged)), show(n, fmt.Sprintf("ours-%t", privileged))
		if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(got, "/sys/fs/cgroup") {
			t.Errorf("privileged %t: (-runc +ours):\n%s", privileged, diff)
		}
	}
}
