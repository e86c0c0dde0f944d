//go:build linux && cgo

package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer/exeseal"
	"golang.org/x/sys/unix"
)

// Seal continues the program from a copy in memory that nobody can change, and returns if it runs from one already. Inits are
// started from the same copy, so that a container that gets hold of its init's file holds nothing of the host's. Without it,
// libcontainer makes a copy for each. The servers of one directory share a copy.
func Seal(run string) error {
	if exeseal.IsSelfExeCloned() {
		return nil
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	info, err := self.Stat()
	if err != nil {
		return err
	}
	// One at a time, so that the second finds the first's; the lock ends with this program, and its number stays.
	lock, err := os.OpenFile(filepath.Join(run, "seal.lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_EX), listen()); err != nil {
		return err
	}
	sealed := copyOfAnother(run, info.Size())
	if sealed == nil {
		if sealed, err = exeseal.CloneBinary(self, info.Size(), "/proc/self/exe", os.TempDir()); err != nil {
			return err
		}
	}
	return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", sealed.Fd()), os.Args, os.Environ())
}

// listen listens in the process's own name. "start" did it before, and the kernel tells those who connect who listened.
func listen() error {
	if err := syscall.Listen(3, 128); err != nil {
		return fmt.Errorf("the server is started by \"start\", which gives it its socket: %w", err)
	}
	return nil
}

// copyOfAnother finds the copy that another server of the same directory runs from; it is of the same program, for the
// directory's name is a sum of it. Nil if there is none.
func copyOfAnother(run string, size int64) *os.File {
	sockets, _ := filepath.Glob(filepath.Join(run, "[0-9]*"))
	for _, path := range sockets {
		if strings.Contains(filepath.Base(path), ".") { // its lock, or its log
			continue
		}
		pid, err := peer(path)
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			continue
		}
		if info, err := exe.Stat(); err == nil && info.Size() == size && exeseal.IsCloned(exe) {
			return exe
		}
		_ = exe.Close()
	}
	return nil
}

// peer is the process that listens on a socket.
func peer(path string) (int, error) {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Pid), nil
}
