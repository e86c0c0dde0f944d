// Package foreign reads and writes files that somebody else can write too: a tenant from inside a container, or the maker of an
// image.
//
// Idea. Such a file may have become anything meanwhile: larger than the agent's memory, a FIFO that nobody writes to, a device
// that has no end, a link to a file of the machine. So it is opened within a root that no link leads out of, without waiting for
// anybody, and is read only if it is a regular file and not larger than what it can be for.
//
// What is larger is an error and never cut: half of a file means something else than the whole.
package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Read reads a file of at most so many bytes. Its errors wrap errdefs.ErrInvalidArgument where the file is there and is not what
// it should be.
func Read(dir *os.Root, name string, most int64) ([]byte, error) {
	file, err := open(dir, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return readAll(file, name, most)
}

// ReadInside reads a file as a process sees it whose root is this directory: where links are absolute, they begin there, and none leads out, by whatever
// number of "..". Its errors are Read's.
func ReadInside(root, name string, most int64) ([]byte, error) {
	dir, err := OpenAt(unix.AT_FDCWD, root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	found, err := OpenAt(int(dir.Fd()), name, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	return ReadFound(found, most)
}

// ReadFound reads what was found as a path (O_PATH). It is opened only when it is known to be a regular file: with some devices something happens when
// they are opened. Its errors are Read's.
func ReadFound(found *os.File, most int64) ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(found.Fd()), &stat); err != nil {
		return nil, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, notRegular(found.Name())
	}
	file, err := OpenAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", found.Fd()), unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return readAll(file, found.Name(), most)
}

// raced is how often a path is looked up again that somebody changed meanwhile.
const raced = 16

// OpenAt is openat2(2): it opens a path in a directory, by rules that say where links may lead.
func OpenAt(dir int, path string, flags int, resolve uint64) (*os.File, error) {
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve})
		if (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)) && try < raced {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// readAll reads and closes a file.
func readAll(file *os.File, name string, most int64) ([]byte, error) {
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, most+1)) // it may grow while it is read
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", name, most, errdefs.ErrInvalidArgument)
	}
	return text, err
}

// Tail reads the end of a file: as many bytes at most. It is for what somebody tells people, of which a part is better than nothing. Its
// errors are Read's.
func Tail(dir *os.Root, name string, most int64) ([]byte, error) {
	file, err := open(dir, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-most), most))
}

// Write makes the content of a file what is given, and leaves alone a file that has it. The file stays the same one, which is
// what containers have mounted, and what it takes of its file system is used again: so one that is full does not matter as long as
// the file does not grow.
func Write(dir *os.Root, name string, content []byte) error {
	if there, err := Read(dir, name, int64(len(content))); err == nil && bytes.Equal(there, content) {
		return nil
	}
	file, err := open(dir, name, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Truncate(int64(len(content))), file.Close())
}

// open opens a regular file, and waits for nobody.
func open(dir *os.Root, name string, flags int) (*os.File, error) {
	file, err := dir.OpenFile(name, flags|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	if err := checkRegular(file, name); err != nil {
		return nil, err
	}
	return file, nil
}

// checkRegular closes a file that is not a regular one.
func checkRegular(file *os.File, name string) error {
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, notRegular(name), file.Close())
	}
	return nil
}

func notRegular(name string) error {
	return fmt.Errorf("%s is not a regular file: %w", name, errdefs.ErrInvalidArgument)
}
