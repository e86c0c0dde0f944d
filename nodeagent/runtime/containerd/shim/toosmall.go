//go:build linux && cgo

package shim

import (
	"errors"
	"fmt"
	"syscall"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// startMemory is about what a container's start takes of its memory limit, in bytes, before its program is there: the init and the
// kernel's records of it.
const startMemory = 3 << 20

// explain says so where a container cannot be started because of its memory limit. What fails then may be anything: the init is
// killed, or gets no memory, and whoever speaks with it finds a pipe closed.
func (c *container) explain(err error) error {
	if err == nil || c.spec == nil {
		return err
	}
	resources := c.spec.Linux.Resources
	if resources == nil || resources.Memory == nil || resources.Memory.Limit == nil || *resources.Memory.Limit <= 0 {
		return err
	}
	limit := *resources.Memory.Limit
	killed := c.home != nil && cgroup.OOMKills(c.home.path) > 0
	if !killed && !errors.Is(err, syscall.ENOMEM) && limit >= startMemory {
		return err
	}
	return fmt.Errorf("its memory limit of %d bytes is too low to start it, which takes about %d bytes alone; raise resources.limits.memory: %w",
		limit, startMemory, err)
}
