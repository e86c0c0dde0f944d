package containerd_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// orphaned starts containers and kills their servers.
func orphaned(t *testing.T, n *node, r *containerd.Runtime, scripts map[string]string, change ...func(*runtime.ContainerSpec)) map[string]runtime.ContainerSpec {
	t.Helper()
	specs, servers := map[string]runtime.ContainerSpec{}, map[int]bool{}
	for id, script := range scripts {
		specs[id] = n.start(t, r, id, script, change...)
		output(t, specs[id], "ready")
		servers[parent(t, awaits(t, r, id, runtime.StateRunning).PID)] = true
	}
	for server := range servers {
		must(t, syscall.Kill(server, syscall.SIGKILL))
		ends(t, "a killed server", server)
	}
	for id := range scripts {
		eventually(t, func() string { // containerd takes away what it has of the task
			bundles, _ := filepath.Glob(n.Dir + "/state/*/miniplane/" + id)
			return strings.Join(bundles, " ")
		})
		awaits(t, r, id, runtime.StateRunning)
	}
	return specs
}

// TestOrphan: what a container has and what it lacks from the end of its server to its own end. docs/designs/shim.md has the list.
func TestOrphan(t *testing.T) {
	n := newNode(t)
	n.opts.Logs = stdio.Limits{MaxSize: 64 << 10, MaxFiles: 50}
	r := n.runtime(t)
	const forever = "echo ready; while :; do sleep 0.1; done"
	specs := orphaned(t, n, r, map[string]string{
		"fat":   `trap 'x=$(head -c 200000000 /dev/zero | tr "\0" x); echo ${#x}; exit 0' TERM; ` + forever,
		"loud":  `trap 'i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done; exit 5' TERM; ` + forever,
		"mute":  `trap 'echo unheard 2>/dev/null || exit 9; exit 0' TERM; ` + forever,
		"still": `trap 'exit 0' USR1; ` + forever,
	}, func(s *runtime.ContainerSpec) { s.Resources.MemoryLimit = 32 << 20 })

	for _, err := range n.throughContainerd(t, "still") {
		if !errdefs.IsNotFound(err) {
			t.Errorf("containerd's API of a task without a server: %v", err)
		}
	}
	logger := owners(specs["mute"].LogPath)
	if len(logger) != 1 {
		t.Fatalf("owners of a log: %v", logger)
	}
	must(t, syscall.Kill(logger[0], syscall.SIGKILL))
	until(t, "the log program's end", func() bool { return !alive(logger[0]) })
	for _, id := range []string{"fat", "loud", "mute"} {
		must(t, r.Kill(t.Context(), id, runtime.SIGTERM))
	}
	ended := runtime.StateExited
	if !tellsExits(t) {
		ended = runtime.StateUnknown
	}
	for id, code := range map[string]int{"fat": 137, "loud": 5, "mute": 9} {
		c := awaits(t, r, id, ended)
		if ended == runtime.StateExited && (c.ExitCode != code || c.OOMKilled != (id == "fat") || c.ServerFailed) {
			t.Errorf("%s ended as %+v, want code %d", id, c, code)
		}
	}
	if lines := linesOf(t, specs["loud"].LogPath); lines != 4000 {
		t.Errorf("the log has %d of 4000 lines", lines)
	}

	// Nobody is there when it ends: nobody invents how.
	pid := awaits(t, r, "still", runtime.StateRunning).PID
	must(t, r.Close())
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	next := n.runtime(t)
	awaits(t, next, "still", runtime.StateUnknown)
	for id := range specs {
		must(t, next.Remove(t.Context(), id))
	}
	for _, pattern := range []string{"shim-*/c/*", "containers/*"} {
		if left, _ := filepath.Glob(filepath.Join(n.opts.StateDir, pattern)); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	if left := slices.Concat(owners(specs["loud"].LogPath), owners(specs["still"].LogPath)); len(left) > 0 {
		t.Errorf("programs that write logs are left: %v", left)
	}
}

// throughContainerd asks for what only a server can do.
func (n *node) throughContainerd(t *testing.T, id string) []error {
	t.Helper()
	c := n.Client(t)
	defer c.Close()
	_, execErr := c.TaskService().Exec(t.Context(), &tasks.ExecProcessRequest{ContainerID: id, ExecID: "try"})
	_, pauseErr := c.TaskService().Pause(t.Context(), &tasks.PauseTaskRequest{ContainerID: id})
	_, updateErr := c.TaskService().Update(t.Context(), &tasks.UpdateTaskRequest{ContainerID: id})
	return []error{errgrpc.ToNative(execErr), errgrpc.ToNative(pauseErr), errgrpc.ToNative(updateErr)}
}

// linesOf counts the lines "line N" in all files of a log.
func linesOf(t *testing.T, path string) int {
	t.Helper()
	files, err := stdio.Files(path)
	must(t, err)
	if len(files) < 2 {
		t.Errorf("the log was not put aside: %v", files)
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		count += strings.Count(string(text), " stdout F line ")
	}
	return count
}
