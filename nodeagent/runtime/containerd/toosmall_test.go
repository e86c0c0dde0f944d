package containerd_test

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// TestMemoryLimitTooLow: a limit that a container cannot be started with is named, by both shims. Not much more is enough.
func TestMemoryLimitTooLow(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			r := n.runtime(t)
			try := func(limit int64) error {
				id := fmt.Sprintf("small-%d", limit)
				must(t, r.Create(t.Context(), runtime.ContainerSpec{ID: id, Group: id, Image: busybox, Command: shell("sleep 1000"),
					CgroupPath: filepath.Join(n.parent, "pod"+id, id), LogPath: filepath.Join(n.Dir, id+".log"),
					Resources: runtime.Resources{MemoryLimit: limit}}))
				defer func() { must(t, r.Remove(context.Background(), id)) }()
				return r.Start(t.Context(), id)
			}
			wanted := regexp.MustCompile(`memory limit`)
			for _, limit := range []int64{1, 512 << 10, 1 << 20} {
				if err := try(limit); err == nil || !wanted.MatchString(err.Error()) {
					t.Errorf("%d bytes: %v", limit, err)
				}
			}
			if err := try(8 << 20); err != nil {
				t.Errorf("8 MiB: %v", err)
			}
		})
	}
}
