package containerd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/test/slow"
)

var patience = slow.By(time.Minute)

// start runs a shell script as a container and removes it at the end.
func (n *node) start(t testing.TB, r *containerd.Runtime, id, script string, change ...func(*runtime.ContainerSpec)) runtime.ContainerSpec {
	t.Helper()
	spec := runtime.ContainerSpec{
		ID: id, Group: id, Image: busybox, Command: shell(script), Labels: map[string]string{runtime.LabelPodUID: id},
		CgroupPath: filepath.Join(n.parent, "pod"+id, id), LogPath: filepath.Join(n.Dir, id+".log"),
	}
	for _, f := range change {
		f(&spec)
	}
	must(t, r.Create(t.Context(), spec))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, n.runtime(t).Remove(ctx, id)) // r may be closed
		if left := n.leftovers(id); len(left) > 0 {
			t.Errorf("left of %s: %v", id, left)
		}
	})
	must(t, r.Start(t.Context(), spec.ID))
	return spec
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually repeats a look until it gives no complaint.
func eventually(t testing.TB, look func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		complaint := look()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaits a container's state.
func awaits(t testing.TB, r *containerd.Runtime, id string, want runtime.State) runtime.Container {
	t.Helper()
	var out runtime.Container
	eventually(t, func() string {
		list, err := r.List(context.Background())
		if err != nil {
			return err.Error()
		}
		for _, c := range list {
			if c.ID == id {
				out = c
				if c.State == want {
					return ""
				}
			}
		}
		return fmt.Sprintf("%s is %+v, want %s", id, out, want)
	})
	return out
}

// output of a container, without heads, once it holds what is wanted.
func output(t testing.TB, spec runtime.ContainerSpec, want string) string {
	t.Helper()
	var text []byte
	eventually(t, func() string {
		text, _ = os.ReadFile(spec.LogPath)
		if strings.Contains(string(text), want) {
			return ""
		}
		return fmt.Sprintf("log is %q, want %q in it", text, want)
	})
	return string(text)
}

// TestContainerdKilled: containers outlive containerd; the same client goes on with the next one.
func TestContainerdKilled(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	n.start(t, r, "lives", "while :; do sleep 1; done")
	exited := n.start(t, r, "exited", "exit 3")
	awaits(t, r, exited.ID, runtime.StateExited)
	talker := n.start(t, r, "talks", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); usleep 1000; done; exit 5")
	before := awaits(t, r, "lives", runtime.StateRunning)
	events, err := r.Events(t.Context())
	must(t, err)

	n.Kill()
	for range events { // closed when the connection is lost
	}
	if _, err := r.List(t.Context()); !errdefs.IsUnavailable(err) {
		t.Errorf("list without containerd: %v, want Unavailable", err)
	}
	if err := r.Kill(t.Context(), "lives", runtime.SIGTERM); !errdefs.IsUnavailable(err) {
		t.Errorf("kill without containerd: %v, want Unavailable", err)
	}
	n.Run(t)

	if after := awaits(t, r, "lives", runtime.StateRunning); after.PID != before.PID || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("%+v after %+v", after, before)
	}
	if c := awaits(t, r, "exited", runtime.StateExited); c.ExitCode != 3 || c.FinishedAt.IsZero() {
		t.Errorf("exited before: %+v", c)
	}
	if c := awaits(t, r, "talks", runtime.StateExited); c.ExitCode != 5 {
		t.Errorf("exited after: %+v", c)
	}
	numbered(t, output(t, talker, "line 1999"), 2000)
	must(t, r.Kill(t.Context(), "lives", runtime.SIGKILL))
	awaits(t, r, "lives", runtime.StateExited)
}

// numbered checks that a log has the lines "line 0", "line 1" … each once, in order.
func numbered(t testing.TB, log string, want int) {
	t.Helper()
	next := 0
	for line := range strings.Lines(log) {
		_, text, _ := strings.Cut(line, " stdout F line ")
		if got, err := strconv.Atoi(strings.TrimSpace(text)); err != nil || got != next {
			t.Fatalf("log line %q, want number %d", line, next)
		}
		next++
	}
	if next != want {
		t.Errorf("%d lines, want %d", next, want)
	}
}

// TestExitWithoutContainerd: what ends while containerd is away is told as ended, or as unknown, but never as running.
func TestExitWithoutContainerd(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := n.start(t, r, "ends", "echo up; sleep 0.3; exit 4")
	output(t, spec, "up")
	n.Kill()
	time.Sleep(500 * time.Millisecond) // the container's own clock; nobody is there to tell
	n.Run(t)
	eventually(t, func() string {
		list, err := r.List(t.Context())
		if err != nil || len(list) != 1 || list[0].State == runtime.StateRunning || list[0].State == runtime.StateCreated {
			return fmt.Sprintf("%+v %v", list, err)
		}
		t.Logf("told as %s, code %d", list[0].State, list[0].ExitCode)
		return ""
	})
}

// TestShimKilled: with runc's shim, containerd takes the container along with a dead shim. That is told apart from an end of its own;
// an end of its own before that, and a kill, are not. Remove leaves nothing.
func TestShimKilled(t *testing.T) {
	n := newRuncNode(t)
	r := n.runtime(t)
	n.start(t, r, "killed", "while :; do sleep 1; done")
	n.start(t, r, "orphan", "while :; do sleep 1; done")
	c := awaits(t, r, "orphan", runtime.StateRunning)
	awaits(t, r, "killed", runtime.StateRunning)
	events, err := r.Events(t.Context())
	must(t, err)
	must(t, r.Kill(t.Context(), "killed", runtime.SIGKILL))
	told(t, events, runtime.EventExited)
	if c := awaits(t, r, "killed", runtime.StateExited); c.ExitCode != 137 || c.ServerFailed {
		t.Errorf("killed: %+v", c)
	}
	must(t, syscall.Kill(parent(t, c.PID), syscall.SIGKILL))
	for told(t, events, runtime.EventExited).ContainerID != "orphan" {
	}
	for _, r := range []*containerd.Runtime{r, n.runtime(t)} {
		if c := awaits(t, r, "orphan", runtime.StateExited); c.ExitCode != 137 || !c.ServerFailed {
			t.Errorf("%+v", c)
		}
	}
	eventually(t, func() string {
		if syscall.Kill(c.PID, 0) == nil {
			return "the container's process lives"
		}
		return ""
	})
}

func parent(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	var state string
	var ppid int
	_, err = fmt.Sscan(string(text[strings.LastIndexByte(string(text), ')')+1:]), &state, &ppid)
	must(t, err)
	return ppid
}

// TestNeverStarted: records and half-made tasks of an agent that died are started, or removed, by the next.
func TestNeverStarted(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := runtime.ContainerSpec{ID: "half", Group: "half", Image: busybox, Command: shell("exit 6"),
		CgroupPath: filepath.Join(n.parent, "podhalf", "half"), LogPath: filepath.Join(n.Dir, "half.log")}
	must(t, r.Create(t.Context(), spec))
	c := n.Client(t)
	defer c.Close()
	must(t, c.SnapshotService("overlayfs").Remove(t.Context(), "half")) // as if it had died before the snapshot
	next := n.runtime(t)
	awaits(t, next, "half", runtime.StateCreated)
	must(t, next.Start(t.Context(), "half"))
	if c := awaits(t, next, "half", runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	must(t, next.Remove(t.Context(), "half"))
	if left := n.leftovers("half"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// halfStarted makes a container and its task, as an agent does that dies before it lets it go.
func (n *node) halfStarted(t *testing.T, r *containerd.Runtime, id string) (runtime.ContainerSpec, *tasks.CreateTaskResponse) {
	t.Helper()
	spec := runtime.ContainerSpec{ID: id, Group: id, Image: busybox, Command: shell("exit 6"),
		CgroupPath: filepath.Join(n.parent, "pod"+id, id), LogPath: filepath.Join(n.Dir, id+".log")}
	must(t, r.Create(t.Context(), spec))
	c := n.Client(t)
	defer c.Close()
	mounts, err := c.SnapshotService("overlayfs").Mounts(t.Context(), id)
	must(t, err)
	request := &tasks.CreateTaskRequest{ContainerID: id}
	for _, m := range mounts {
		request.Rootfs = append(request.Rootfs, &types.Mount{Type: m.Type, Source: m.Source, Options: m.Options})
	}
	task, err := c.TaskService().Create(t.Context(), request)
	must(t, err)
	return spec, task
}

// TestBrokenOff: a task whose process ended before it was started, as when containerd gives up a call of an agent that died,
// has not been a run of the container.
func TestBrokenOff(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec, task := n.halfStarted(t, r, "broken-off")
	c := n.Client(t)
	defer c.Close()
	must(t, syscall.Kill(int(task.Pid), syscall.SIGKILL))
	next := n.runtime(t)
	eventually(t, func() string {
		task, err := c.TaskService().Get(t.Context(), &tasks.GetRequest{ContainerID: spec.ID})
		if err != nil || task.Process.Status != tasktypes.Status_STOPPED {
			return fmt.Sprintf("task %v, %v", task, err)
		}
		return ""
	})
	awaits(t, next, spec.ID, runtime.StateCreated)
	must(t, next.Start(t.Context(), spec.ID))
	if c := awaits(t, next, spec.ID, runtime.StateExited); c.ExitCode != 6 {
		t.Errorf("%+v", c)
	}
	must(t, next.Remove(t.Context(), spec.ID))
}

func TestStartFails(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := runtime.ContainerSpec{ID: "broken", Group: "broken", Image: busybox, Command: []string{"/no/such/program"},
		CgroupPath: filepath.Join(n.parent, "podbroken", "broken"), LogPath: filepath.Join(n.Dir, "broken.log")}
	must(t, r.Create(t.Context(), spec))
	err := r.Start(t.Context(), "broken")
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("error %v, want one that names the program", err)
	}
	awaits(t, r, "broken", runtime.StateCreated)
	must(t, r.Remove(t.Context(), "broken"))
	if left := n.leftovers("broken"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestOOM: seen by the agent that is there, and by one that comes later.
func TestOOM(t *testing.T) {
	n := newNode(t)
	for _, watching := range []bool{true, false} {
		r := n.runtime(t)
		var events <-chan runtime.Event
		if watching {
			var err error
			events, err = r.Events(t.Context())
			must(t, err)
		}
		id := fmt.Sprintf("hog-%t", watching)
		n.start(t, r, id, `x=$(head -c 200000000 /dev/zero | tr '\0' x); echo ${#x}`, func(s *runtime.ContainerSpec) {
			s.Resources.MemoryLimit = 16 << 20
		})
		if watching {
			for e := range events {
				if e.Type == runtime.EventExited {
					break
				}
			}
		}
		if c := awaits(t, n.runtime(t), id, runtime.StateExited); !c.OOMKilled || c.ExitCode == 0 {
			t.Errorf("watching %t: %+v", watching, c)
		}
	}
}
