package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/nodeagent/foreign"
)

// Mount implements Manager. A volume as a whole is at a place that nobody but the agent can change. A path in it may lead anywhere by the time
// that the runtime follows it, so it is followed here, and what was found is mounted at a place of ours.
func (m *manager) Mount(uid types.UID, w Wanted, container string, index int, subPath string) (string, error) {
	if err := check(uid, w.Name, container); err != nil {
		return "", err
	}
	place := m.place(uid, w)
	if subPath == "" {
		return place, nil
	}
	defer m.locks.lock(uid)()
	target := filepath.Join(m.memory, string(uid), "paths", container, strconv.Itoa(index))
	var err error
	if w.Host != nil {
		err = m.machine(func() error { return w.Host.mountPath(subPath, target, w.Follow, m.after) })
	} else {
		err = mountPath(place, subPath, target, w.Files == nil && !w.Image, m.after)
	}
	if err != nil {
		return "", fmt.Errorf("volume %q: subPath %q: %w", w.Name, subPath, inWords(err))
	}
	return target, nil
}

// inWords says what errors of looking up a path mean here.
func inWords(err error) error {
	for errno, words := range map[unix.Errno]string{
		unix.ENOENT:  "it is not there",
		unix.ENOTDIR: "a part of it is a file",
		unix.EXDEV:   "it leads out of the volume, by a link or by something that is mounted there",
		unix.ELOOP:   "its links have no end",
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%s: %w", words, err)
		}
	}
	return err
}

// mountPath mounts a path of a volume at a place of ours. What was mounted there for a container before is taken away.
func mountPath(volume, subPath, target string, mayMake bool, after func(step string) error) error {
	found, err := beneath(volume, subPath, mayMake)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }()
	if err := makePlace(found, target, false); err != nil {
		return err
	}
	if err := after("place of the path"); err != nil {
		return err
	}
	// By its descriptor: what is mounted is what was found, whatever its path leads to by now.
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", found.Fd()), target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return after("mount of the path")
}

// makePlace makes a directory or a file at a place of ours, on which something that was found is mounted. What was mounted there for a container before is taken away.
func makePlace(found *os.File, target string, anything bool) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(found.Fd()), &stat); err != nil {
		return err
	}
	if err := unmountAll(target); err != nil {
		return err
	}
	if err := removeEmpty(target); err != nil { // never with what is in it: that would be a tenant's
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	switch kind := stat.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		return os.Mkdir(target, 0o700)
	case kind == unix.S_IFREG || anything:
		return os.WriteFile(target, nil, 0o600)
	}
	return errors.New("it is neither a directory nor a file")
}

// inVolume are the rules of a path in a volume: nothing leads out of it.
const inVolume = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// beneath opens a path in a volume, which no link leads out of. Directories that are missing are made, with the permissions of the volume.
func beneath(volume, subPath string, mayMake bool) (*os.File, error) {
	root, err := openRoot(volume)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return openBeneath(root, subPath, mayMake, inVolume)
}

func openRoot(volume string) (*os.File, error) {
	return foreign.OpenAt(unix.AT_FDCWD, volume, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// openBeneath opens a path in a directory. Directories that are missing are made, with the permissions of that directory.
func openBeneath(root *os.File, subPath string, mayMake bool, resolve uint64) (*os.File, error) {
	if err := checkSubPath(subPath); err != nil {
		return nil, err
	}
	found, err := foreign.OpenAt(int(root.Fd()), subPath, unix.O_PATH, resolve)
	if !errors.Is(err, unix.ENOENT) || !mayMake {
		return found, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &stat); err != nil {
		return nil, err
	}
	parts := strings.Split(filepath.Clean(subPath), "/")
	for i := range parts {
		if err := makeAt(int(root.Fd()), filepath.Join(parts[:i]...), parts[i], stat.Mode&(unix.S_ISGID|0o777), resolve); err != nil {
			return nil, err
		}
	}
	return foreign.OpenAt(int(root.Fd()), subPath, unix.O_PATH|unix.O_DIRECTORY, resolve)
}

// makeAt makes one directory in another, which is looked up as everything is, unless it is there.
func makeAt(root int, parent, name string, mode uint32, resolve uint64) error {
	if parent == "" {
		parent = "."
	}
	dir, err := foreign.OpenAt(root, parent, unix.O_PATH|unix.O_DIRECTORY, resolve)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	err = unix.Mkdirat(int(dir.Fd()), name, mode)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	made, err := foreign.OpenAt(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, resolve)
	if err != nil {
		return err
	}
	defer func() { _ = made.Close() }()
	return unix.Fchmod(int(made.Fd()), mode) // whatever the agent's umask is
}

// checkSubPath tells what is wrong with a path in a volume. The API refuses it too, but not what variables make of it.
func checkSubPath(path string) error {
	if strings.HasPrefix(path, "/") || len(path) > longestPath || strings.ContainsRune(path, 0) {
		return errors.New("it must be a relative path")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return errors.New(`it must not have ".." in it`)
		}
	}
	return nil
}
