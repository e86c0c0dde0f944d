package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seal makes a copy in memory of a program, which nobody can change any more, and returns a path by which this process, and what it forks,
// executes it. A pause whose PID namespace containers share is executed from there: who may trace it could write to its file
// otherwise, which the next sandbox executes as root.
func seal(program string) (string, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	fd, err := unix.MemfdCreate("pause", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3, where each can be executed
		fd, err = unix.MemfdCreate("pause", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return "", fmt.Errorf("a copy of the pause in memory: %w", err)
	}
	for rest := text; err == nil && len(rest) > 0; {
		var n int
		n, err = unix.Write(fd, rest)
		rest = rest[max(0, n):]
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("a copy of the pause in memory: %w", err), unix.Close(fd))
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}
