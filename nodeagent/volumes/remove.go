package volumes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/nodeagent/foreign"
)

const (
	// entriesAtATime bounds how many names of a directory are in memory.
	entriesAtATime = 1024
	// deepest is how many directories are open at a time where none can be moved.
	deepest = 64
)

// Remove implements Manager.
func (m *manager) Remove(uid types.UID) error {
	if err := check(uid); err != nil {
		return err
	}
	defer m.locks.lock(uid)()
	for _, parent := range []string{m.memory, m.disk} {
		dir := filepath.Join(parent, string(uid))
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := unmountBelow(dir); err != nil {
			return err
		}
		if err := m.after("unmounted"); err != nil {
			return err
		}
		if err := removeTree(parent, string(uid)); err != nil {
			return fmt.Errorf("volumes of %s: %w", uid, err)
		}
	}
	return nil
}

// unmountBelow takes away every mount at and below a directory, whoever made it.
func unmountBelow(dir string) error {
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) { // the last one first: it may be on another
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mountsBelow are the mount points at and below a directory, in the order in which they were made.
func mountsBelow(dir string) ([]string, error) {
	if real, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(real, filepath.Base(dir))
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, err
	}
	out := make([]string, len(mounts))
	for i, mount := range mounts {
		out[i] = mount.Mountpoint
	}
	return out, nil
}

// unmountAll takes away what is mounted at one place, however often.
func unmountAll(target string) error {
	for {
		switch err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return nil
		case err != nil:
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
}

// removeTree removes a directory with all that is in it. It opens two directories at a time, however deep the tree is: what a directory in
// it has of directories is moved up first. Where that cannot be, as on a disk that is full to the last block, they are emptied where they are, as deep as
// that goes. No link is followed, and no mount is entered.
func removeTree(parent, name string) error {
	top, err := os.OpenFile(filepath.Join(parent, name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	r := remover{top: top}
	err = r.empty()
	_ = top.Close()
	if err != nil {
		return err
	}
	return os.Remove(filepath.Join(parent, name))
}

type remover struct {
	top   *os.File
	moved int
}

// empty goes over the top directory until nothing is left there.
func (r *remover) empty() error {
	for {
		if _, err := r.top.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := r.top.Readdirnames(entriesAtATime)
		if len(names) == 0 {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var errs []error
		for _, name := range names {
			if err := r.remove(r.top, name, 0); err != nil { // the others may make the room that this one needs
				errs = append(errs, err)
			}
		}
		if len(errs) > 0 {
			return errs[0]
		}
	}
}

// remove removes an entry of a directory; of a directory, what is in it comes to the top first.
func (r *remover) remove(parent *os.File, name string, depth int) error {
	err := unlink(parent, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	dir, err := foreign.OpenAt(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := dir.Readdirnames(entriesAtATime)
		if len(names) == 0 {
			if errors.Is(err, io.EOF) {
				return unlink(parent, name, unix.AT_REMOVEDIR)
			}
			return err
		}
		for _, entry := range names {
			err := unlink(dir, entry, 0)
			if errors.Is(err, unix.EISDIR) {
				if err = r.moveUp(dir, entry); err != nil && depth < deepest {
					err = r.remove(dir, entry, depth+1)
				}
			}
			if err != nil {
				return err
			}
		}
	}
}

// moveUp moves a directory to the top, under a name that no volume has.
func (r *remover) moveUp(dir *os.File, name string) error {
	for {
		r.moved++
		to := "..moved-" + strconv.Itoa(r.moved)
		err := unix.Renameat2(int(dir.Fd()), name, int(r.top.Fd()), to, unix.RENAME_NOREPLACE)
		switch {
		case errors.Is(err, unix.EEXIST):
			continue // of a removal that was cut short
		case errors.Is(err, unix.EPERM):
			if err := yield(dir, name); err != nil {
				return err
			}
			err = unix.Renameat2(int(dir.Fd()), name, int(r.top.Fd()), to, unix.RENAME_NOREPLACE)
		}
		if err != nil {
			return &os.PathError{Op: "rename", Path: name, Err: err}
		}
		return nil
	}
}

// unlink removes an entry of a directory, also where it, or the directory, was made immutable. That it is gone is no error.
func unlink(dir *os.File, name string, flags int) error {
	err := unix.Unlinkat(int(dir.Fd()), name, flags)
	if errors.Is(err, unix.EPERM) {
		if err := yield(dir, name); err != nil {
			return err
		}
		err = unix.Unlinkat(int(dir.Fd()), name, flags)
	}
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "remove", Path: name, Err: err}
}

// immutable are the flags (chattr +i, +a) that keep a file from being removed, also by root: statx(2) has the bits of FS_IMMUTABLE_FL and
// FS_APPEND_FL.
const immutable = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND

// yield takes those flags from a directory and from an entry of it.
func yield(dir *os.File, name string) error {
	if err := clearFlags(int(dir.Fd())); err != nil {
		return &os.PathError{Op: "make removable", Path: ".", Err: err}
	}
	// Files and directories alone can have flags. Anything else is not opened: opening it might be heard, or wait.
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil // what could not be removed tells why itself
	}
	if kind := stat.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil
	}
	entry, err := foreign.OpenAt(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, unix.RESOLVE_NO_XDEV)
	if err != nil {
		return err
	}
	defer func() { _ = entry.Close() }()
	return clearFlags(int(entry.Fd()))
}

func clearFlags(fd int) error {
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return nil //nolint:nilerr // a file system without such flags has none to take
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags&^immutable)
}

// removeEmpty removes a directory that is empty; one that does not exist is no error.
func removeEmpty(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
