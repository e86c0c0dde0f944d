//go:build linux && cgo

package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // sets which devices a container may use
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// home is a container's cgroup.
//
// With cgroup v2 it is libcontainer's business. With v1, a process that is moved to a cgroup waits for a grace period of
// the kernel, 8 to 15 ms, with a lock that all other moves on the machine wait for. A thread that moves itself waits for
// nothing, and its child is born where it is. So the server makes the cgroup, one of its threads enters, starts the init, and
// leaves again; libcontainer, which would move the init once more, is told of no cgroup.
//
// The limits come last (see bound). What the thread touches while it is inside counts there, and where that is more than the memory limit
// the kernel finds nobody to kill, for the server lives elsewhere: the thread would try for ever. And without cpu it would wait, with
// all that others start meanwhile. So it does not go where a container runs: what is executed there enters by itself (see beside).
type home struct {
	path string
	v1   *fs.Manager
	// limits is what bound sets.
	limits *cgroups.Resources
	// made are the directories that were not there before.
	made []string
	// view is what the container sees of it, where the server mounts that.
	view *view
}

// nowhere is what libcontainer is told: one hierarchy that does not exist. (None at all would mean: find out.)
var nowhere = map[string]string{"none": ""}

func init() {
	set := cgroups.DevicesSetV1
	cgroups.DevicesSetV1 = func(path string, r *cgroups.Resources) error {
		if path == "" {
			return nil // libcontainer's turn; they are set already
		}
		return set(path, r)
	}
}

// newHome takes the cgroup out of a container's configuration where libcontainer is not to care for it. What it made is taken back if it fails.
func newHome(config *configs.Config) (*home, error) {
	h := &home{path: config.Cgroups.Path}
	var err error
	if cgroups.IsCgroup2UnifiedMode() {
		h.made, err = cgroup.Make(filepath.Dir(h.path))
	} else {
		err = h.makeV1(config)
	}
	if err != nil {
		cgroup.Unmake(h.made)
		return nil, err
	}
	return h, nil
}

func (h *home) makeV1(config *configs.Config) error {
	own := *config.Cgroups
	var err error
	if h.v1, err = fs.NewManager(&own, nil); err != nil {
		return err
	}
	if cgroup.Exists(h.path) {
		if pids := cgroup.PIDs(h.path); len(pids) > 0 {
			return fmt.Errorf("cgroup %s has processes already: %v", h.path, pids)
		}
	}
	if h.made, err = cgroup.Make(h.path); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if err := h.v1.Set(&cgroups.Resources{Devices: own.Devices}); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	limits := *own.Resources
	limits.SkipDevices = true
	h.limits = &limits
	h.view = takeView(config, h.path)
	config.Cgroups.Resources = &cgroups.Resources{}
	config.RootlessCgroups = true // it is no error that libcontainer cannot move processes that are executed later
	return nil
}

// boundWait is how long the kernel is given to hand back what it holds in reserve for a cgroup on each processor, before it is asked again to
// set a memory limit that has room for what is used, but not for that.
const boundWait = 10 * time.Millisecond

// bound sets the limits, once the init waits in the cgroup to be let go. It is an error if the init alone takes more memory.
func (h *home) bound() error {
	if h.v1 == nil {
		return nil
	}
	err := h.v1.Set(h.limits)
	for try := 0; err != nil && try < 3; try++ { // libcontainer does not pass on which error of the kernel it is
		<-time.After(boundWait)
		err = h.v1.Set(h.limits)
	}
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// inside runs f so that what it starts is in the cgroup.
func (h *home) inside(f func() error) error {
	if h.v1 == nil {
		return f()
	}
	return cgroup.Inside(h.path, f)
}

// beside runs f, which starts a process in the container that runs, with these files. It enters the cgroup by itself; nothing of the server does.
func (h *home) beside(p *libcontainer.Process, files []*os.File, f func() error) error {
	defer func() { p.ExtraFiles = nil }()
	if h.v1 == nil {
		p.ExtraFiles = files
		return f()
	}
	doors, err := cgroup.Doors(h.path)
	defer func() {
		for _, door := range doors {
			_ = door.Close()
		}
	}()
	if err != nil {
		return err
	}
	p.ExtraFiles = append(doors, files...)
	return f()
}

// remove kills what is left in the cgroup and removes it, and what was made above it, if nobody else uses that.
func (h *home) remove(ctx context.Context) error {
	if err := cgroup.Remove(ctx, h.path); err != nil {
		return err
	}
	cgroup.Unmake(h.made)
	return nil
}

func (h *home) freeze(frozen bool) error {
	if h.v1 == nil {
		return errors.New("not here")
	}
	if frozen {
		return h.v1.Freeze(cgroups.Frozen)
	}
	return h.v1.Freeze(cgroups.Thawed)
}
