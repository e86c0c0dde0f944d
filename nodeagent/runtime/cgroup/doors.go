package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Doors opens a cgroup that was created, in every hierarchy of cgroup v1, for a process that is given the files to enter by itself (see
// Enters). With v2 only there are none: a process is born in its cgroup there (see Open).
//
// That is for a cgroup in which others run already. Whoever is in it lives by its limits: its share of the cpu, its memory, which
// may be used up by what nobody's end frees. A thread that starts a process from inside (see Inside) would wait by them, with
// what all others wait for who start one. A process that goes in on its own can be killed, and only it waits.
//
// The caller closes them, also beside an error.
func Doors(path string) ([]*os.File, error) {
	var doors []*os.File
	for _, h := range hierarchies() {
		if h.v2 {
			continue
		}
		door, err := os.OpenFile(filepath.Join(h.root, path, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return doors, fmt.Errorf("cgroup %s: %w", path, err)
		}
		doors = append(doors, door)
	}
	return doors, nil
}

// Enters moves the calling thread through the doors that the process was given as its descriptors from first on; none is no error.
// They are closed by execve. To be called on the thread that will execute the program.
func Enters(first int) error {
	for fd := first; isDoor(fd); fd++ {
		unix.CloseOnExec(fd)
		// "0" is the thread that writes. For any other number the kernel would need a lock (see Inside).
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return fmt.Errorf("enter a cgroup: %w", err)
		}
	}
	return nil
}

// isDoor tells a door from other descriptors: it is a cgroup's file, and came by execve. (The Go runtime has such files open for itself.)
func isDoor(fd int) bool {
	var of unix.Statfs_t
	if err := unix.Fstatfs(fd, &of); err != nil || of.Type != unix.CGROUP_SUPER_MAGIC {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}
