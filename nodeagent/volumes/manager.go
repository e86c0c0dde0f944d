package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/nodeagent/foreign"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

const (
	// filesOptions bound what the files of one MiniPod take of the node's memory: there are two versions of them while they change.
	filesOptions = "mode=0755,size=20m,nr_inodes=16k"
	// mostBytes is how much the files of all volumes of a MiniPod may take, in bytes; each takes whole pages of filePage bytes, also one
	// that is empty, as its name takes something, too.
	mostBytes, filePage = 8 << 20, 4 << 10
)

// Wanted is a volume to make.
type Wanted struct {
	Name string
	// Files that it consists of; nil for an emptyDir.
	Files Files
	// Dirs are empty directories beside the files, by their paths, in which other volumes are mounted.
	Dirs []string
	// Memory is the size of an emptyDir in memory, in bytes; 0 for one on disk.
	Memory int64
	// Host is a path of the node; nil for others.
	Host *Host
	// Image says that it has the files of an image, which Fill puts at a directory. What was put there once stays.
	Image bool
	Fill  func(ctx context.Context, dir string) error
	// Follow says that mounts which are made on the node later are to be seen in a path of the volume.
	Follow bool
	// Group of an emptyDir, which what is made in it belongs to as well; none when nil. That of files is theirs.
	Group *uint32
}

// Manager makes the volumes of MiniPods, and takes them away. All that it must remember is on the machine.
type Manager interface {
	// Make makes volumes, or what is missing of them, and brings their files up to date. It does nothing once ctx has ended.
	Make(ctx context.Context, uid types.UID, wanted []Wanted) error
	// Made tells whether a volume is there that has files or an image, from whichever time they are.
	Made(uid types.UID, volume string) bool
	// Mount is where the runtime finds a volume for a container, or a path in it. Index tells a container's mounts apart.
	Mount(uid types.UID, w Wanted, container string, index int, subPath string) (string, error)
	// Read reads a file of an emptyDir, of at most so many bytes. Its errors wrap fs.ErrNotExist where there is no such file, and errdefs.ErrInvalidArgument
	// where it is not what it should be.
	Read(uid types.UID, w Wanted, path string, most int64) ([]byte, error)
	// Usage is what emptyDirs on disk take of it, in bytes, by their names; those that are not there are not in it. It takes its time, and ends with ctx.
	Usage(ctx context.Context, uid types.UID, names []string) (map[string]int64, error)
	// OfImage is where directories are that the image of a container calls volumes, and which are the container's alone. Who makes the container
	// makes them, where there are such.
	OfImage(uid types.UID, container string) string
	// RemoveOfImage takes them away, with whatever is in them. Nil if there are none.
	RemoveOfImage(uid types.UID, container string) error
	// List are the MiniPods that have volumes, or remains of them.
	List() ([]types.UID, error)
	// Remove takes all volumes of a MiniPod away, with whatever is in them. No container uses them any more. Nil if there are none.
	Remove(uid types.UID) error
}

type manager struct {
	memory string // below the state directory
	disk   string // below the root directory
	locks  locks
	// machine is where the runtime sees the node.
	machine Machine
	// after is called after each step; tests stop there.
	after func(step string) error
}

// New makes a manager. Its directories are for root alone.
func New(stateDir, rootDir string, machine Machine) (Manager, error) {
	m := newManager(stateDir, rootDir)
	m.machine = machine
	if err := os.MkdirAll(m.memory, 0o700); err != nil {
		return nil, err
	}
	if err := sandbox.Share(m.memory); err != nil { // what is mounted there must be seen by the runtime too
		return nil, fmt.Errorf("make %s a shared mount: %w", m.memory, err)
	}
	return m, nil
}

func newManager(stateDir, rootDir string) *manager {
	return &manager{memory: filepath.Join(stateDir, "volumes"), disk: filepath.Join(rootDir, "volumes"),
		machine: func(do func() error) error { return do() }, after: func(string) error { return nil }}
}

// Cleanup takes away all volumes, and what New made.
func Cleanup(stateDir, rootDir string) error {
	m := newManager(stateDir, rootDir)
	uids, err := m.List()
	errs := []error{err}
	for _, uid := range uids {
		errs = append(errs, m.Remove(uid))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := sandbox.Unshare(m.memory); err != nil {
		return err
	}
	return errors.Join(removeEmpty(m.memory), removeEmpty(m.disk))
}

var (
	validUID  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

func check(uid types.UID, names ...string) error {
	if !validUID.MatchString(string(uid)) {
		return fmt.Errorf("pod UID %q is none", uid)
	}
	for _, name := range names {
		if !validName.MatchString(name) {
			return fmt.Errorf("%q is no name of a volume or container", name)
		}
	}
	return nil
}

// place is where a volume is.
func (m *manager) place(uid types.UID, w Wanted) string {
	switch {
	case w.Host != nil:
		return w.Host.Path
	case w.Image:
		return m.imageDir(uid, w.Name)
	case w.Files != nil:
		return filepath.Join(m.filesDir(uid), w.Name)
	case w.Memory > 0:
		return filepath.Join(m.memory, string(uid), "memory", w.Name)
	}
	return filepath.Join(m.disk, string(uid), w.Name)
}

func (m *manager) filesDir(uid types.UID) string {
	return filepath.Join(m.memory, string(uid), "files")
}

// imageDir is where the files of an image are.
func (m *manager) imageDir(uid types.UID, volume string) string {
	return filepath.Join(m.memory, string(uid), "images", volume)
}

// Made implements Manager.
func (m *manager) Made(uid types.UID, volume string) bool {
	return check(uid, volume) == nil && (hasFiles(filepath.Join(m.filesDir(uid), volume)) || isMount(m.imageDir(uid, volume)))
}

// Make implements Manager.
func (m *manager) Make(ctx context.Context, uid types.UID, wanted []Wanted) error {
	if err := check(uid); err != nil {
		return err
	}
	defer m.locks.lock(uid)()
	if err := ctx.Err(); err != nil { // it may have been waiting for its end
		return err
	}
	if err := checkSize(wanted); err != nil {
		return err
	}
	for _, w := range wanted {
		if err := check(uid, w.Name); err != nil {
			return err
		}
		if err := m.makeOne(ctx, uid, w); err != nil {
			return fmt.Errorf("volume %q: %w", w.Name, err)
		}
	}
	return nil
}

// checkSize refuses more files than a MiniPod has room for, before any is written.
func checkSize(wanted []Wanted) error {
	room := NewRoom()
	for _, w := range wanted {
		for _, file := range w.Files {
			if err := room.take(len(file.Data)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *manager) makeOne(ctx context.Context, uid types.UID, w Wanted) error {
	dir := m.place(uid, w)
	switch {
	case w.Host != nil:
		return m.machine(w.Host.check)
	case w.Image:
		return m.fill(ctx, dir, w.Fill)
	case w.Files != nil:
		if err := m.mount(m.filesDir(uid), filesOptions); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := m.after("volume"); err != nil {
			return err
		}
		return publish(dir, w.Files, w.Dirs, m.after)
	case w.Memory > 0:
		options := fmt.Sprintf("mode=%o,size=%d", unix.S_ISVTX|emptyDirMode(w.Group), w.Memory) // as of every file system in memory that is a native volume
		if w.Group != nil {
			options += fmt.Sprintf(",gid=%d", *w.Group)
		}
		return m.mount(dir, options)
	}
	return m.mkdir(dir, w.Group)
}

// fill has an image's files put at a directory, unless they are there.
func (m *manager) fill(ctx context.Context, dir string, fill func(ctx context.Context, dir string) error) error {
	if isMount(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := m.after("place of the image"); err != nil {
		return err
	}
	if err := fill(ctx, dir); err != nil {
		return err
	}
	return m.after("image")
}

// isMount tells whether something is mounted at a directory, also of its own file system.
func isMount(dir string) bool {
	fd, err := foreign.OpenAt(unix.AT_FDCWD, filepath.Dir(dir), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = fd.Close() }()
	into, err := foreign.OpenAt(int(fd.Fd()), filepath.Base(dir), unix.O_PATH, unix.RESOLVE_NO_XDEV)
	if err == nil {
		_ = into.Close()
	}
	return errors.Is(err, unix.EXDEV)
}

// emptyDirMode are the permissions of an emptyDir, as of a native one; what is made in one of a group belongs to that group.
func emptyDirMode(group *uint32) uint32 {
	if group != nil {
		return unix.S_ISGID | 0o777
	}
	return 0o777
}

// mkdir makes an emptyDir on disk. One that is there may be full of somebody's data, and is left as it is.
func (m *manager) mkdir(dir string, group *uint32) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	// Everybody may write to it, as to a native one; it gets its name when that is so.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	if err := m.after("directory of " + filepath.Base(dir)); err != nil {
		return err
	}
	if group != nil {
		if err := os.Chown(fresh, 0, int(*group)); err != nil {
			return err
		}
	}
	if err := unix.Chmod(fresh, emptyDirMode(group)); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// mount mounts a file system in memory, unless one is there.
func (m *manager) mount(dir, options string) error {
	if mounted(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := m.after("mount point of " + filepath.Base(dir)); err != nil {
		return err
	}
	if err := unix.Mount("miniplane", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount memory: %w", err)
	}
	return m.after("mount of " + filepath.Base(dir))
}

// mounted tells whether a directory is on another file system than its parent.
func mounted(dir string) bool {
	var own, parent unix.Stat_t
	return unix.Lstat(dir, &own) == nil && unix.Lstat(filepath.Dir(dir), &parent) == nil && own.Dev != parent.Dev
}

// List implements Manager.
func (m *manager) List() ([]types.UID, error) {
	var out []types.UID
	for _, dir := range []string{m.memory, m.disk} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			if uid := types.UID(entry.Name()); check(uid) == nil { // and not lost+found, where a disk is mounted there
				out = append(out, uid)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
