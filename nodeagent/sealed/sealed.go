// Package sealed makes files in memory that nobody can change any more, not even who has them open: of programs that are executed, and of what
// programs rely on.
package sealed

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Seals are all that a file has: neither its content nor its length nor its seals change.
const Seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Program is a file that this process, and what it forks, can execute by the path /proc/self/fd/N.
func Program(name string, content []byte) (*os.File, error) {
	file, err := seal(name, content, unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3, where each can be executed
		return File(name, content)
	}
	return file, err
}

// File is one for data. It may be executable too, depending on the kernel.
func File(name string, content []byte) (*os.File, error) { return seal(name, content, 0) }

func seal(name string, content []byte, flags int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, os.NewSyscallError("memfd_create", err))
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err = file.Write(content); err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, Seals)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
	}
	return file, nil
}
