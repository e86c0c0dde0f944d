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

// pin is a mount that holds something of a sandbox: a namespace, or what is in memory.
type pin struct {
	// of is the namespace's name in /proc/PID/ns, or that of the file system.
	of string
	// at is where it is, from the sandbox's directory.
	at string
}

// Where namespaces are that are not for an agent of an earlier version: it would give the network of the machine an address of a MiniPod's. What
// it does with the files takes them along.
const besideFiles = filesName + "/."

// own are the pins of the namespaces that a pause which comes later joins.
func (s Shape) own() []pin {
	if s.HostNetwork {
		return []pin{{"ipc", "ipc"}}
	}
	return []pin{{"net", "net"}, {"ipc", "ipc"}, {"uts", "uts"}}
}

// pins are all of a sandbox, each after what it stands on.
func (s Shape) pins() []pin {
	out := append(s.own(), pin{shmName, shmName}, pin{filesName, filesName})
	if s.HostNetwork {
		out = append(out, pin{"net", besideFiles + "net"}, pin{"uts", besideFiles + "uts"})
	}
	if s.SharePIDs {
		out = append(out, sharedPIDs)
	}
	return out
}

// sharedPIDs is the PID namespace of the pause, which ends with it.
var sharedPIDs = pin{"pid", besideFiles + "pid"}

// missing are those of the pins that are not there.
func missing(dir string, pins []pin) []pin {
	return slices.DeleteFunc(slices.Clone(pins), func(p pin) bool { return p.there(dir) })
}

func (p pin) there(dir string) bool {
	path := filepath.Join(dir, p.at)
	if memory[p.of] != "" {
		return isType(path, unix.TMPFS_MAGIC) && mountpoint(path)
	}
	return isType(path, unix.NSFS_MAGIC)
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

// pinAll pins what is not pinned yet of a process's namespaces, and mounts what is in memory.
func pinAll(dir string, shape Shape, pid int, after func(string) error) error {
	for _, p := range missing(dir, shape.pins()) {
		if err := p.make(filepath.Join(dir, p.at), pid); err != nil {
			return fmt.Errorf("pin %s: %w", p.of, err)
		}
		if err := after("pin " + p.of); err != nil {
			return err
		}
	}
	return nil
}

func (p pin) make(target string, pid int) error {
	if options, ok := memory[p.of]; ok {
		if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return unix.Mount(p.of, target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return unix.Mount(fmt.Sprintf("/proc/%d/ns/%s", pid, p.of), target, "", unix.MS_BIND, "")
}

// remove takes a pin away, however often it was made, and what is mounted in it.
func (p pin) remove(dir string) error {
	for target := filepath.Join(dir, p.at); isType(target, unix.NSFS_MAGIC) || memory[p.of] != "" && mountpoint(target); {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unpin %s: %w", p.of, err)
		}
	}
	return nil
}

// unpin takes all pins away, of whatever shape.
func unpin(dir string) error {
	for _, p := range (Shape{}).pins() {
		if err := p.remove(dir); err != nil {
			return err
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
