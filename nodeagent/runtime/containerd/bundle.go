package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/thread"
)

// asContainerd runs f where containerd's directories and mounts are: the agent may not have them.
func (r *Runtime) asContainerd(f func() error) error {
	return thread.Spend(func() error {
		pid, err := listener(r.opts.Address)
		if err != nil {
			return err
		}
		if err := thread.EnterMounts(int(pid)); err != nil {
			return err
		}
		return f()
	})
}

// bundleDirs are where containerd keeps the bundles of the namespace, as servers of the shim noted.
func (r *Runtime) bundleDirs() []string {
	links, _ := filepath.Glob(filepath.Join(r.opts.StateDir, "shim-*", "bundles"))
	var out []string
	seen := map[string]bool{}
	for _, link := range links {
		if dir, err := os.Readlink(link); err == nil && !seen[dir] && filepath.Base(dir) == r.opts.Namespace {
			seen[dir] = true
			out = append(out, dir)
		}
	}
	return out
}

// bundles are those of our shim.
func (r *Runtime) bundles() (out []leftover, err error) {
	dirs := r.bundleDirs()
	if len(dirs) == 0 {
		return nil, nil
	}
	err = r.asContainerd(func() error {
		for _, dir := range dirs {
			entries, err := os.ReadDir(dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, entry := range entries {
				if left, ok := atBundle(filepath.Join(dir, entry.Name())); ok {
					out = append(out, left)
				}
			}
		}
		return nil
	})
	return out, err
}

// atBundle reads a bundle; false if it is none of our shim's. containerd writes there what it executed for it.
func atBundle(dir string) (leftover, bool) {
	name, err := os.ReadFile(filepath.Join(dir, "shim-binary-path"))
	if err != nil || strings.HasPrefix(filepath.Base(dir), ".") || filepath.Base(string(name)) != shimName {
		return leftover{}, false
	}
	seen, err := stampOf(dir)
	return leftover{id: filepath.Base(dir), bundle: dir, runtime: string(name), seen: seen}, err == nil
}

// stamp is a directory at one moment: the same is the same, and nobody added to it.
type stamp struct {
	inode   uint64
	changed time.Time
}

// sighting is a stamp, and when it was first seen.
type sighting struct {
	stamp
	first time.Time
}

func stampOf(dir string) (stamp, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.Sys().(*syscall.Stat_t).Ino, info.ModTime()}, nil
}

// removeBundle removes a bundle as containerd does: as a whole, so that a new one can take its place at once. One that is not as it was
// seen is left alone: a containerd that started anew meanwhile may have removed that one, and made another for the container's next start.
func removeBundle(dir string, seen stamp) error {
	if now, err := stampOf(dir); errors.Is(err, fs.ErrNotExist) || err == nil && now != seen {
		return nil
	}
	rootfs := filepath.Join(dir, "rootfs")
	for {
		err := unix.Unmount(rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // nothing is mounted
			break
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", rootfs, err)
		}
	}
	if err := os.Remove(rootfs); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	work, err := os.Readlink(filepath.Join(dir, "work"))
	if err == nil && filepath.Base(work) == filepath.Base(dir) {
		if err := os.RemoveAll(work); err != nil {
			return err
		}
	}
	aside := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir))
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(aside)
}
