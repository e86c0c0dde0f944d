package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// machine is what containerd can give to a container, seen through its process: the agent itself may run in a container that
// has less.
type machine struct {
	// proc is containerd's directory below /proc.
	proc string
}

// machine looks who containerd is now; it may have been restarted since the last look.
func (r *Runtime) machine() (machine, error) {
	pid, err := listener(r.opts.Address)
	if err != nil {
		return machine{}, fmt.Errorf("see what containerd may give: %w", err)
	}
	return machine{proc: fmt.Sprintf("/proc/%d", pid)}, nil
}

// capabilities that containerd has, and so its containers can have.
func (m machine) capabilities() ([]string, error) {
	status, err := os.Open(filepath.Join(m.proc, "status"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = status.Close() }()
	sets, err := cap.ParseProcPIDStatus(status)
	if err != nil {
		return nil, fmt.Errorf("capabilities of containerd: %w", err)
	}
	// Those without a name are newer than the list here; runc does not know them either.
	names, _ := cap.FromBitmap(sets[cap.Permitted] & sets[cap.Bounding])
	return names, nil
}

// private are the parts of /dev that every container has for itself.
var private = []string{"console", "fd", "mqueue", "pts", "ptmx", "shm", ".lxc", ".lxd-mounts", ".udev"}

// devices are all of the machine's.
func (m machine) devices() ([]specs.LinuxDevice, error) {
	root := filepath.Join(m.proc, "root", "dev")
	var out []specs.LinuxDevice
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // devices come and go
		case err != nil:
			return err
		case filepath.Dir(path) == root && slices.Contains(private, entry.Name()):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case entry.Type()&fs.ModeDevice == 0:
			return nil
		}
		if device, ok := deviceAt(path); ok {
			device.Path = filepath.Join("/dev", path[len(root):])
			out = append(out, device)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("devices of the machine: %w", err)
	}
	return out, nil
}

// deviceAt describes a device; false if it is gone.
func deviceAt(path string) (specs.LinuxDevice, bool) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return specs.LinuxDevice{}, false
	}
	kind := "c"
	if stat.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	}
	mode := os.FileMode(stat.Mode &^ unix.S_IFMT)
	return specs.LinuxDevice{Type: kind, Major: int64(unix.Major(stat.Rdev)), Minor: int64(unix.Minor(stat.Rdev)),
		FileMode: &mode, UID: &stat.Uid, GID: &stat.Gid}, true
}
