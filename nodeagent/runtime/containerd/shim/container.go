//go:build linux && cgo

package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/guard"
)

// patience is how long the server waits for what must happen, such as the end of a process after SIGKILL.
const patience = 20 * time.Second

// container is what the server knows of one.
type container struct {
	id, bundle, dir string
	spec            *specs.Spec
	home            *home
	lib             *libcontainer.Container
	init            *task
	// seccomp is the profile that libcontainer was not told of for the init, whose filter is set by a guard.
	seccomp *configs.Seccomp
	// filter is the same, compiled; nil if each process has to compile it.
	filter *filter
	rootfs string
	// made is closed when its creation succeeded or failed; err says which.
	made chan struct{}
	err  error
	// starting has room for one: who starts a command in it.
	starting chan struct{}

	mu     sync.Mutex
	paused bool
	execs  map[string]*task
}

// create makes a container up to the point where its init waits. What is there when it fails, destroy takes away.
func (c *container) create(s *service, r *tasks.CreateTaskRequest) error {
	root := stateRoot(s.call.Run)
	var err error
	if c.spec, err = readSpec(r.Bundle); err != nil {
		return err
	}
	c.rootfs = c.spec.Root.Path
	var mounts []mount.Mount
	for _, m := range r.Rootfs {
		mounts = append(mounts, mount.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	if len(mounts) > 0 {
		if err := os.Mkdir(c.rootfs, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := mount.All(mounts, c.rootfs); err != nil {
			return fmt.Errorf("mount the root file system: %w", err)
		}
	}
	cfg, err := config(c.id, c.spec)
	if err != nil {
		return err
	}
	if c.filter = s.filters.get(cfg.Seccomp); c.filter != nil {
		c.seccomp, cfg.Seccomp = cfg.Seccomp, nil
	}
	if c.home, err = newHome(cfg); err != nil {
		return err
	}
	if c.lib, err = load(root, c.id, cfg, c.home); err != nil {
		return err
	}
	if c.init.process, err = process(c.spec.Process); err != nil {
		return err
	}
	c.init.process.Init = true
	if c.filter == nil {
		err = c.init.begin(c.lib, c.home.inside, s.call.Namespace)
	} else {
		err = c.beginGuarded(s.call.Namespace)
	}
	if err != nil {
		return err
	}
	return c.home.bound()
}

// beginGuarded starts the init and sets its filter, before anybody can let it go.
func (c *container) beginGuarded(namespace string) error {
	g, theirs, err := guard.New()
	if err != nil {
		return err
	}
	defer g.Close()
	c.init.process.ExtraFiles = []*os.File{theirs}
	err = c.init.begin(c.lib, c.home.inside, namespace)
	_ = theirs.Close()
	if err != nil {
		return err
	}
	return g.Install(c.init.pid, c.filter.Filter)
}

// tellSeccomp tells libcontainer of the profile after all, for processes that are executed in the container.
func (c *container) tellSeccomp() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seccomp == nil {
		return nil
	}
	cfg := c.lib.Config()
	cfg.Seccomp = c.seccomp
	if err := c.lib.Set(cfg); err != nil {
		return err
	}
	c.seccomp = nil
	return nil
}

// destroy ends a container, however far it came, and removes all of it but its bundle. It can be called again.
func (c *container) destroy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if c.init.pid > 0 && !c.init.hasEnded() {
		_ = c.init.signal(syscall.SIGKILL)
		if err := c.init.wait(ctx); err != nil {
			return fmt.Errorf("process %d does not die of SIGKILL: %w", c.init.pid, err)
		}
	}
	if c.home != nil {
		if err := c.home.remove(ctx); err != nil {
			return err
		}
	}
	if c.lib != nil {
		if err := c.lib.Destroy(); err != nil {
			return err
		}
	}
	if c.init.streams != nil {
		c.init.streams.close()
	}
	if err := unmount(c.rootfs); err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// unmount takes a root file system away, and what may have been mounted over it.
func unmount(dir string) error {
	if dir == "" {
		return nil
	}
	for {
		switch err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err {
		case nil:
		case unix.EINVAL, unix.ENOENT: // nothing is mounted
			return nil
		case unix.EBUSY:
			if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %s: %w", dir, err)
			}
		default:
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
}

// recordExit keeps how the container ended for a "delete" after the server's own end.
func (c *container) recordExit(s seen) {
	text := fmt.Sprintf("%d %d %d", s.code, s.at.UnixNano(), s.pid)
	_ = os.WriteFile(filepath.Join(c.dir, "exit"), []byte(text), 0o600) // it is 137 then, as if it had died with the server
}

func (c *container) exec(id string) (*task, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.execs[id]
	return t, ok
}

// update changes a container's limits to those of a specs.LinuxResources in JSON; what it does not name stays.
func (c *container) update(limits []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, linux := *c.spec, *c.spec.Linux
	changed.Linux, linux.Resources = &linux, &specs.LinuxResources{}
	for _, text := range [][]byte{mustJSON(c.spec.Linux.Resources), limits} {
		if err := json.Unmarshal(text, linux.Resources); err != nil {
			return fmt.Errorf("limits: %w: %w", err, errdefs.ErrInvalidArgument)
		}
	}
	if c.spec.Linux.Resources != nil {
		linux.Resources.Devices = c.spec.Linux.Resources.Devices
	}
	cfg, err := config(c.id, &changed)
	if err != nil {
		return err
	}
	if c.home.v1 != nil {
		err = c.home.v1.Set(cfg.Cgroups.Resources)
	} else {
		now := c.lib.Config()
		now.Cgroups.Resources = cfg.Cgroups.Resources
		err = c.lib.Set(now)
	}
	if err == nil {
		c.spec = &changed
	}
	return err
}

const (
	// restPause is how long what else ran in a container that ended is given to die, before it is looked whether there is more by now.
	restPause = 5 * time.Millisecond
	// restTries is how often: what forks all the time may take a few.
	restTries = 200
)

// endRest ends what else runs in a container whose first process has ended, where the kernel does not.
func (c *container) endRest() {
	if ownPIDs(c.spec) {
		return
	}
	for range restTries {
		cgroup.Kill(c.home.path)
		if cgroup.Empty(c.home.path) {
			return
		}
		<-time.After(restPause)
	}
}

// ownPIDs tells whether all of a container's processes end with its first.
func ownPIDs(spec *specs.Spec) bool {
	for _, n := range spec.Linux.Namespaces {
		if n.Type == specs.PIDNamespace {
			return n.Path == ""
		}
	}
	return false
}

// mustJSON is for values that were made from JSON.
func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}
