package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// A hostPath is the node's and not ours: it is made where the MiniPod asks for that, and never given to anybody, emptied or removed. It is looked at
// where the runtime sees it, which the agent itself, in a container, need not.

// Machine runs something where the runtime sees the machine's files, on a thread of its own.
type Machine func(do func() error) error

// Host is a path of the node.
type Host struct {
	Path string
	Type corev1.HostPathType
}

// hostKinds are the kinds of files that types stand for, and their names.
var hostKinds = map[corev1.HostPathType]struct {
	mode uint32
	name string
}{
	corev1.HostPathDirectory: {unix.S_IFDIR, "a directory"}, corev1.HostPathDirectoryOrCreate: {unix.S_IFDIR, "a directory"},
	corev1.HostPathFile: {unix.S_IFREG, "a file"}, corev1.HostPathFileOrCreate: {unix.S_IFREG, "a file"},
	corev1.HostPathSocket: {unix.S_IFSOCK, "a socket"}, corev1.HostPathCharDev: {unix.S_IFCHR, "a character device"},
	corev1.HostPathBlockDev: {unix.S_IFBLK, "a block device"},
}

// check tells what is wrong with what is at a path, and makes what is missing and may be made.
func (h *Host) check() error {
	var stat unix.Stat_t
	err := unix.Stat(h.Path, &stat)
	if errors.Is(err, unix.ENOENT) {
		if err = h.make(); err != nil {
			return h.wrong(err)
		}
		err = unix.Stat(h.Path, &stat)
	}
	kind, asked := hostKinds[h.Type]
	switch {
	case err != nil:
		return h.wrong(err)
	case asked && stat.Mode&unix.S_IFMT != kind.mode:
		return fmt.Errorf("hostPath type check failed: %s is not %s", h.Path, kind.name)
	case !asked && h.Type != corev1.HostPathUnset:
		return fmt.Errorf("hostPath type %q is not known", h.Type)
	}
	return nil
}

// make makes what is not there: for nothing in particular a directory, as a native Pod's runtime does.
func (h *Host) make() error {
	switch h.Type {
	case corev1.HostPathDirectoryOrCreate, corev1.HostPathUnset:
		return os.MkdirAll(h.Path, 0o755)
	case corev1.HostPathFileOrCreate:
		file, err := os.OpenFile(h.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) { // somebody was faster; what it is, is looked at
			return nil
		}
		if err != nil {
			return err
		}
		return file.Close()
	}
	return unix.ENOENT
}

func (h *Host) wrong(err error) error {
	return fmt.Errorf("hostPath type check failed: %s: %w", h.Path, inWords(err))
}

// mountPath mounts a path in a hostPath at a place of ours, as mountPath does with those in volumes of ours. What is mounted there must not be
// unmounted on the node when the place is given up, so that it hears of the node's mounts at most, and never the reverse.
func (h *Host) mountPath(subPath, target string, follow bool, after func(step string) error) error {
	found, err := h.beneath(subPath)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	tree, err := unix.OpenTree(int(found.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("take it from the node: %w", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if follow {
		attr.Propagation = unix.MS_SLAVE
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("keep it apart from the node (Linux 5.12 or newer can): %w", err)
	}
	if err := makePlace(found, target, true); err != nil {
		return err
	}
	if err := after("place of the path"); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	return after("mount of the path")
}

// beneath opens a path in a hostPath, which no link leads out of; what is mounted in it is a part of it.
func (h *Host) beneath(subPath string) (*os.File, error) {
	root, err := os.OpenFile(h.Path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return openBeneath(root, subPath, true, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
}
