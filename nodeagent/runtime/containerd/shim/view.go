//go:build linux && cgo

package shim

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/thread"
)

// view is what a container sees of its cgroups of v1, in /sys/fs/cgroup.
//
// libcontainer's init would read the machine's table of mounts for it and walk to every place as if an image might have laid
// traps there, which is a quarter of all that an init does. But nothing there is the image's: the place lies in the sysfs that
// libcontainer mounted just before. So the server takes the mount out of the configuration and mounts the view itself, from
// a hook that runs when all other mounts are there and the machine's file system is still in sight.
type view struct {
	rootfs, cgroup string
	flags          uintptr
}

const viewPlace = "/sys/fs/cgroup"

// takeView takes the view out of a configuration; nil where it is better left to libcontainer.
func takeView(config *configs.Config, cgroupPath string) *view {
	at := func(destination, device string) int {
		return slices.IndexFunc(config.Mounts, func(m *configs.Mount) bool {
			return m.Destination == destination && m.Device == device
		})
	}
	i := at(viewPlace, "cgroup")
	others := slices.ContainsFunc(config.Mounts, func(m *configs.Mount) bool {
		return m.Destination != viewPlace && strings.HasPrefix(path.Clean(m.Destination), "/sys/")
	})
	switch {
	case i < 0, others, at("/sys", "sysfs") < 0, config.Namespaces.Contains(configs.NEWCGROUP), config.Namespaces.Contains(configs.NEWUSER):
		return nil
	}
	v := &view{rootfs: config.Rootfs, cgroup: cgroupPath, flags: uintptr(config.Mounts[i].Flags)}
	config.Mounts = slices.Delete(config.Mounts, i, i+1)
	return v
}

// hang makes the view one of a container's hooks, which are written down with the container, and of which a function cannot be:
// so it takes itself out when it has run.
func (v *view) hang(hooks configs.Hooks) {
	others := hooks[configs.CreateRuntime]
	hooks[configs.CreateRuntime] = append(configs.HookList{configs.NewFunctionHook(func(state *specs.State) error {
		hooks[configs.CreateRuntime] = others
		return v.show(state.Pid)
	})}, others...)
}

// show mounts the view for an init that waits.
func (v *view) show(pid int) error {
	err := thread.Spend(func() error {
		if err := thread.EnterMounts(pid); err != nil {
			return err
		}
		return v.mount()
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", viewPlace, err)
	}
	return nil
}

// mount makes a small file system with a directory for each hierarchy, as libcontainer does, and a link for each controller of
// those that have several.
func (v *view) mount() error {
	place := filepath.Join(v.rootfs, viewPlace)
	if err := enter(place, unix.SYSFS_MAGIC); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", ".", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	if err := enter(place, unix.TMPFS_MAGIC); err != nil {
		return err
	}
	for _, root := range cgroup.Legacy() {
		name := filepath.Base(root)
		if err := unix.Mkdir(name, 0o755); err != nil {
			return fmt.Errorf("directory %s: %w", name, err)
		}
		if err := unix.Mount(filepath.Join(root, v.cgroup), name, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := unix.Mount("", name, "", unix.MS_BIND|unix.MS_REMOUNT|v.flags, ""); err != nil {
			return fmt.Errorf("flags of %s: %w", name, err)
		}
		if !strings.Contains(name, ",") {
			continue
		}
		for controller := range strings.SplitSeq(name, ",") {
			if err := unix.Symlink(name, controller); err != nil {
				return fmt.Errorf("link %s: %w", controller, err)
			}
		}
	}
	return nil
}

// enter makes a directory the thread's own, which must be of a kind of file system.
func enter(dir string, kind int64) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Type != kind {
		return fmt.Errorf("%s is on a file system of type %#x and not %#x", dir, fs.Type, kind)
	}
	return unix.Fchdir(fd)
}
