// Package waiting tells a container's init that still waits to be let go from one that has become the container's program.
//
// The idea: every init is a copy of the server's program, in memory or not, until it executes the container's. So the kernel
// knows what a server that was killed cannot tell any more, and nothing has to be written down for it. A copy is known by its size: it has
// no name and no file that would stay the same.
//
// What makes it hard is that a wrong answer ends what is healthy, or takes for running what waits for ever. So there are three
// answers, and only what the kernel showed is no doubt. A container whose own program has the size of the server's looks as if it
// waited: who ends it for that must know besides that nobody let it go.
package waiting

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Answer is what a process is.
type Answer int

// Answers.
const (
	// Unknown: the kernel did not tell, or there is no such process.
	Unknown Answer = iota
	// Waits: it is a copy of the server's program.
	Waits
	// Executes: it is another program, for which it must have been let go.
	Executes
)

// sealed is how the name of a copy in memory begins that runc's library made.
const sealed = "/memfd:runc_cloned:"

// Look looks at a process of a container that was started by the server's program.
func Look(pid int, server string) Answer {
	program, err := os.Stat(server)
	if err != nil {
		return Unknown
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	size, err := sizeOf(exe)
	if err != nil {
		return Unknown
	}
	if size == program.Size() {
		return Waits
	}
	if name, err := os.Readlink(exe); err != nil || strings.HasPrefix(name, sealed) {
		return Unknown // a copy of something: not of this program, but who knows
	}
	return Executes
}

// sizeOf is the size of a program as the kernel remembers it. A container's may lie on a file system whose server does not answer: that
// one is not asked, for a look at a node must not hang in it.
func sizeOf(exe string) (int64, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, exe, unix.AT_STATX_DONT_SYNC, unix.STATX_SIZE, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Size), nil
}
