package containerd_test

import (
	"errors"
	"path/filepath"
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// TestNoRoomForAProcess: where all containers together have as many processes as they may, the next cannot be started, by either shim; which is told apart from
// what is wrong with a container. When there is room again, it starts.
func TestNoRoomForAProcess(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			r := n.runtime(t)
			output(t, n.start(t, r, "neighbour", "echo ready; sleep 1000"), "ready")
			all, err := cgroup.PIDCount(n.parent)
			must(t, err)
			must(t, cgroup.LimitPIDs(n.parent, all))
			spec := runtime.ContainerSpec{ID: "next", Group: "next", Image: busybox, Command: shell("exit 6"),
				CgroupPath: filepath.Join(n.parent, "podnext", "next"), LogPath: filepath.Join(n.Dir, "next.log")}
			must(t, r.Create(t.Context(), spec))
			if err := r.Start(t.Context(), spec.ID); !errors.Is(err, runtime.ErrNoRoom) || runtime.IsUnanswered(err) {
				t.Errorf("with no process left: %v", err)
			}
			must(t, r.Remove(t.Context(), spec.ID))
			must(t, cgroup.LimitPIDs(n.parent, 0))
			must(t, r.Create(t.Context(), spec))
			must(t, r.Start(t.Context(), spec.ID))
			if c := awaits(t, r, spec.ID, runtime.StateExited); c.ExitCode != 6 {
				t.Errorf("with room again: %+v", c)
			}
			must(t, r.Remove(t.Context(), spec.ID))
		})
	}
}
