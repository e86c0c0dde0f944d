// Package thread runs what changes a thread for good, such as entering another namespace or cgroup.
package thread

import (
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
