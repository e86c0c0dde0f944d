// Package thread runs what changes a thread for good, such as entering another namespace or cgroup.
package thread

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Spend runs f on a thread that ends with it, and with it whatever f did to the thread. It is never the first thread of
// the process: that one does not end, and what is changed of it is changed for /proc/self and for who looks at the process.
func Spend(f func() error) error {
	done := make(chan error)
	go spend(f, done)
	return <-done
}

func spend(f func() error, done chan<- error) {
	runtime.LockOSThread() // and never unlock: the thread ends with its goroutine
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		instead := make(chan error)
		go spend(f, instead) // on another thread, for this one is taken
		done <- <-instead
		return
	}
	done <- f()
}

// EnterMounts moves the calling thread, one of Spend's, to the mount namespace of a process.
func EnterMounts(pid int) error {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the mount namespace of process %d: %w", pid, err)
	}
	return nil
}
