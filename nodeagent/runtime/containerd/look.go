package containerd

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/thread"
)

// look shows a snapshot's files to read: containerd's mounts, put together where containerd itself would see them. The agent
// may run in a container that does not have containerd's directory, wherever that is; so a thread enters a copy of the mount
// namespace of containerd, and the copy goes with the thread. Nothing is left behind, however the agent ends.
func (r *Runtime) look(mounts []mount.Mount, read func(root string) error) error {
	return thread.Spend(func() error {
		if err := enterCopy(r.opts.Address); err != nil {
			return fmt.Errorf("see what containerd sees: %w", err)
		}
		// Any directory will do, since the copy is nobody else's; but /proc, by which what was found is opened.
		const target = "/sys"
		for _, m := range mounts {
			if err := mountRead(m, target); err != nil {
				return fmt.Errorf("mount a layer of the image: %w", err)
			}
		}
		return read(target)
	})
}

// OnMachine runs something where containerd sees the machine's files, as its containers' mounts do: the agent itself may run in a container.
func (r *Runtime) OnMachine(do func() error) error {
	return thread.Spend(func() error {
		pid, err := listener(r.opts.Address)
		if err == nil {
			err = thread.EnterMounts(int(pid))
		}
		if err != nil {
			return fmt.Errorf("see what containerd sees: %w", err)
		}
		return do()
	})
}

// enterCopy moves the thread to a copy of the mount namespace of the process that listens on a socket.
func enterCopy(socket string) error {
	pid, err := listener(socket)
	if err != nil {
		return err
	}
	if err := thread.EnterMounts(int(pid)); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("copy a mount namespace: %w", err)
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// listener is the process that listens on a socket.
func listener(socket string) (int32, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if peerErr != nil {
		return 0, peerErr
	}
	if peer.Pid == 0 {
		return 0, errors.New("the process that listens on " + socket + " is not visible: run the agent in the machine's PID namespace (hostPID)")
	}
	return peer.Pid, nil
}

// mountRead mounts a view that the overlayfs snapshotter gave: one layer (bind) or several (overlay). Layers are named
// relative to the directory that they share, because their full names need not fit into the page that mount(2) takes.
func mountRead(m mount.Mount, target string) error {
	switch m.Type {
	case "bind":
		return unix.Mount(m.Source, target, "", unix.MS_BIND|unix.MS_REC, "")
	case "overlay":
		options := []string{}
		for _, option := range m.Options {
			layers, ok := strings.CutPrefix(option, "lowerdir=")
			if !ok {
				options = append(options, option)
				continue
			}
			relative, err := relativeTo(filepath.Dir(filepath.Dir(strings.Split(layers, ":")[0])), strings.Split(layers, ":"))
			if err != nil {
				return err
			}
			options = append(options, "lowerdir="+strings.Join(relative, ":"))
		}
		return unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, strings.Join(options, ","))
	default:
		return fmt.Errorf("the snapshotter wants a mount of type %q, which is not known", m.Type)
	}
}

// relativeTo makes dir the thread's working directory and names the paths relative to it.
func relativeTo(dir string, paths []string) ([]string, error) {
	if err := unix.Chdir(dir); err != nil {
		return nil, err
	}
	out := make([]string, len(paths))
	for i, path := range paths {
		var err error
		if out[i], err = filepath.Rel(dir, path); err != nil {
			return nil, err
		}
	}
	return out, nil
}
