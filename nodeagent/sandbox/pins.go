package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaces that are pinned, by their names in /proc/PID/ns.
var namespaces = []string{"net", "ipc", "uts"}

// memory are the small file systems in memory that belong to a sandbox, by their names, with what mount(2) is told. Each has a
// size of its own, so that whoever fills one takes nothing from anybody but its own MiniPod: what is in them is charged to the
// cgroup of the container that wrote it, and goes with the sandbox.
var memory = map[string]string{
	shmName: "mode=1777,size=65536k",
	// Containers can write to the files, and cannot make any.
	filesName: "mode=755,size=1024k,nr_inodes=128",
}

// shmName is what all containers of the sandbox have at /dev/shm, filesName holds single files that they have, /etc/hosts for
// one.
const shmName, filesName = "shm", "files"

// unpinned are the pins that are missing.
func unpinned(dir string) []string {
	missing := unpinnedNamespaces(dir)
	for _, name := range []string{shmName, filesName} {
		if path := filepath.Join(dir, name); !isType(path, unix.TMPFS_MAGIC) || !mountpoint(path) {
			missing = append(missing, name)
		}
	}
	return missing
}

func unpinnedNamespaces(dir string) []string {
	var missing []string
	for _, name := range namespaces {
		if !isType(filepath.Join(dir, name), unix.NSFS_MAGIC) {
			missing = append(missing, name)
		}
	}
	return missing
}

func isType(path string, magic int64) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Type == magic
}

// mountpoint tells whether a directory is on another file system than its parent.
func mountpoint(path string) bool {
	var own, parent unix.Stat_t
	return unix.Stat(path, &own) == nil && unix.Stat(filepath.Dir(path), &parent) == nil && own.Dev != parent.Dev
}

// pin pins what is not pinned yet of a process's namespaces, and mounts what is in memory.
func pin(dir string, pid int, after func(string) error) error {
	for _, name := range unpinned(dir) {
		target := filepath.Join(dir, name)
		if err := pinOne(target, name, pid); err != nil {
			return fmt.Errorf("pin %s: %w", name, err)
		}
		if err := after("pin " + name); err != nil {
			return err
		}
	}
	return nil
}

func pinOne(target, name string, pid int) error {
	if options, ok := memory[name]; ok {
		if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return unix.Mount(name, target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return unix.Mount(fmt.Sprintf("/proc/%d/ns/%s", pid, name), target, "", unix.MS_BIND, "")
}

// unpin takes all pins away, whatever was mounted how often.
func unpin(dir string) error {
	for _, name := range append(slices.Clone(namespaces), shmName, filesName) {
		target := filepath.Join(dir, name)
		for isType(target, unix.NSFS_MAGIC) || memory[name] != "" && mountpoint(target) {
			if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unpin %s: %w", name, err)
			}
		}
	}
	return nil
}

// Share makes a directory a shared mount, unless it is on one already: what is mounted below it is seen by the runtime, too.
func Share(dir string) error { return share(dir) }

// Unshare undoes Share. It is no error if there is nothing to undo.
func Unshare(dir string) error { return unshare(dir) }

// share makes a directory a shared mount, unless it is on one already.
func share(dir string) error {
	_, shared, err := mountOf(dir)
	if err != nil || shared {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", dir, "", unix.MS_SHARED, "")
}

// unshare undoes share. It is no error if there is nothing to undo.
func unshare(dir string) error {
	point, _, err := mountOf(dir)
	if err != nil || point != dir {
		return err
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

// mountOf finds the mount that a path is on, and whether it is shared, from /proc/self/mountinfo (proc_pid_mountinfo(5)).
func mountOf(path string) (point string, shared bool, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 {
			continue
		}
		candidate := unescape.Replace(fields[4])
		within := candidate == "/" || path == candidate || strings.HasPrefix(path, candidate+"/")
		// Of several mounts at one place the last is the one that is seen.
		if within && len(candidate) >= len(point) {
			point = candidate
			shared = slices.ContainsFunc(fields[6:dash], func(f string) bool { return strings.HasPrefix(f, "shared:") })
		}
	}
	return point, shared, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
