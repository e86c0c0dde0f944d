//go:build linux && cgo

package shim

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// defaultAction and ignored are the kernel's SIG_DFL and SIG_IGN; signals counts them, and sigsetSize is how many bytes a set of
// them takes.
const (
	defaultAction, ignored = 0, 1
	signals                = 64
	sigsetSize             = signals / 8
)

// action is the kernel's struct sigaction.
type action struct {
	handler, flags, restorer, mask uintptr
}

// BeginClean gives a container's init the signals that a program expects to begin with: none ignored, none blocked.
//
// execve keeps which are ignored and which are blocked, and the Go runtime leaves alone what it was started with. So without
// this a container's program would begin with what containerd was started with (nohup ignores SIGHUP), or a server had for
// itself; and what a shell finds ignored it can never catch. To be called on the thread that will execute the program.
func BeginClean() {
	for number := uintptr(1); number <= signals; number++ {
		var now action
		_, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, number, 0, uintptr(unsafe.Pointer(&now)), sigsetSize, 0, 0)
		if err != 0 || now.handler != ignored {
			continue // handlers, which are the Go runtime's, go by execve
		}
		now = action{handler: defaultAction}
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, number, uintptr(unsafe.Pointer(&now)), 0, sigsetSize, 0, 0)
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil) // fails of a wrong argument only
}
