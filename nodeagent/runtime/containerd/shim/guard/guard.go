//go:build linux && cgo

// Package guard puts a seccomp filter on a container's init that was compiled before.
//
// libcontainer compiles the profile for every container anew, in the init, which takes longer than everything else that the
// init does (10 to 15 ms for the default profile and three architectures). Here, the init has one more thread, which waits
// on a socket for a filter in the kernel's form and installs it for all threads of the process (SECCOMP_FILTER_FLAG_TSYNC).
// The server sends it when the init is done with everything and waits to be let go, and lets it go only after the kernel
// has shown that the filter is in force. So the filter comes later than libcontainer would set it, just before execve, and a
// container without it cannot start.
//
// The thread is written in C, because nothing of it may depend on the Go scheduler, and because it must keep the privilege to
// set filters when the init takes another user's ID: the C library carries such changes to all threads, and the thread has
// asked the kernel beforehand to leave its capabilities alone. It ends, like all other threads, by execve.
//
// A command that is executed in a container has no guard: it does not wait to be let go (see package compiled for its filter). With cgroup v1 it is given
// doors in its place (see doors.go).
package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptor is the thread's socket in the init: the first after the standard ones, and the only datagram socket.
const Descriptor = 3

// Filter is a compiled profile.
type Filter struct {
	// Flags of seccomp(2), without TSYNC.
	Flags uint32
	// Program is the kernel's struct sock_filter, as often as there are instructions.
	Program []byte
}

// Guard is the server's side.
type Guard struct{ socket *os.File }

// New makes the two sides of a guard. The init gets the second as its descriptor 3.
func New() (*Guard, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return &Guard{os.NewFile(uintptr(fds[0]), "guard")}, os.NewFile(uintptr(fds[1]), "guard"), nil
}

// Close gives the guard up. An init that has no filter by then gets none.
func (g *Guard) Close() error { return g.socket.Close() }

// Install puts the filter on the process, all of it, and checks that it is there.
func (g *Guard) Install(pid int, filter Filter) error {
	message := binary.NativeEndian.AppendUint32(nil, filter.Flags|unix.SECCOMP_FILTER_FLAG_TSYNC)
	message = append(message, filter.Program...)
	patience := unix.NsecToTimeval((10 * time.Second).Nanoseconds())
	fd := int(g.socket.Fd())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return err
	}
	if err := unix.Send(fd, message, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send the seccomp filter: %w", err)
	}
	answer := make([]byte, 4)
	n, err := receive(fd, answer)
	if err != nil || n != len(answer) {
		return fmt.Errorf("the init does not set its seccomp filter: %w", errors.Join(err, errShort))
	}
	if code := int32(binary.NativeEndian.Uint32(answer)); code != 0 {
		return fmt.Errorf("the kernel refuses the seccomp filter: %w", syscall.Errno(code))
	}
	return filtered(pid)
}

var errShort = errors.New("no answer")

func receive(fd int, to []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, to, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// filtered checks that the first thread of a process runs under a filter.
func filtered(pid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	if !strings.Contains(string(status), "\nSeccomp:\t2\n") {
		return fmt.Errorf("process %d has no seccomp filter though it set one", pid)
	}
	return nil
}
