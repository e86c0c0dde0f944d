package foreign_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/foreign"
)

// trap is what a tenant or the maker of an image can put in the place of a file.
type trap struct {
	name string
	set  func(t *testing.T, path string)
	// invalid tells whether the error says that the file is not what it should be; otherwise it is any error.
	invalid bool
}

var traps = []trap{
	{"a FIFO that nobody writes to", func(t *testing.T, path string) { must(t, unix.Mkfifo(path, 0o666)) }, true},
	{"a device without an end", func(t *testing.T, path string) {
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); errors.Is(err, unix.EPERM) {
			t.Skip("SKIPPED: may not make devices")
		} else {
			must(t, err)
		}
	}, true},
	{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o755)) }, true},
	{"a socket", func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		must(t, err)
		t.Cleanup(func() { l.Close() })
	}, false},
	{"an absolute link", func(t *testing.T, path string) { must(t, os.Symlink("/etc/passwd", path)) }, false},
	{"a link upwards", func(t *testing.T, path string) { must(t, os.Symlink("../outside", path)) }, false},
	{"a link to a FIFO", func(t *testing.T, path string) {
		must(t, unix.Mkfifo(path+".fifo", 0o666))
		must(t, os.Symlink(filepath.Base(path)+".fifo", path))
	}, true},
	{"a link to itself", func(t *testing.T, path string) { must(t, os.Symlink(filepath.Base(path), path)) }, false},
	{"a terabyte", func(t *testing.T, path string) {
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, os.Truncate(path, 1<<40))
	}, true},
	{"a byte too many", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(strings.Repeat("x", 101)), 0o644)) }, true},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is a root with a file outside of it.
func place(t *testing.T) (*os.Root, string) {
	t.Helper()
	above, err := os.MkdirTemp("", "mpf") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(above) })
	must(t, os.WriteFile(filepath.Join(above, "outside"), []byte("secret"), 0o644))
	must(t, os.Mkdir(filepath.Join(above, "root"), 0o755))
	root, err := os.OpenRoot(filepath.Join(above, "root"))
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return root, filepath.Join(above, "root", "file")
}

func TestReadTraps(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			root, path := place(t)
			trap.set(t, path)
			inside := func(_ *os.Root, name string, most int64) ([]byte, error) {
				return foreign.ReadInside(filepath.Dir(path), name, most)
			}
			for _, read := range []func(*os.Root, string, int64) ([]byte, error){foreign.Read, inside} {
				text, err := read(root, "file", 100)
				if err == nil || trap.invalid && !errdefs.IsInvalidArgument(err) || len(text) > 0 {
					t.Errorf("%q, %v", text, err)
				}
			}
		})
	}
}

func TestRead(t *testing.T) {
	root, path := place(t)
	if _, err := foreign.Read(root, "file", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, content := range []string{"", "short", strings.Repeat("x", 100)} {
		must(t, os.WriteFile(path, []byte(content), 0o644))
		if got, err := foreign.Read(root, "file", 100); err != nil || string(got) != content {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	must(t, os.Symlink("file", path+".link"))
	if got, err := foreign.Read(root, "file.link", 100); err != nil || len(got) != 100 {
		t.Errorf("through a link within the root: %q, %v", got, err)
	}
}

// What is no regular file is not opened to find that out: no socket can be, and with some devices something happens.
func TestReadInsideOpensNoDevice(t *testing.T) {
	_, path := place(t)
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	if text, err := foreign.ReadInside(filepath.Dir(path), filepath.Base(path), 100); !errdefs.IsInvalidArgument(err) || strings.Contains(err.Error(), unix.ENXIO.Error()) {
		t.Errorf("%q, %v", text, err)
	}
}

// Links of an image lead where they lead in a container of it: absolute ones begin at its root, and none leads above it.
func TestReadInside(t *testing.T) {
	_, path := place(t)
	root := filepath.Dir(path)
	must(t, os.MkdirAll(filepath.Join(root, "store", "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "store", "etc", "passwd"), []byte("inside"), 0o644))
	for name, target := range map[string]string{
		"etc": "/store/etc", "absolute": "/store/etc/passwd", "above": "/../../../store/etc/passwd", "relative": "store/../store/etc/passwd", "two": "/etc/passwd",
		"leaves": "../outside", "magic": "/proc/self/root/store/etc/passwd", "loop": "loop", "dangling": "/../../etc/shadow-not-there",
	} {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
	for _, name := range []string{"etc/passwd", "absolute", "above", "relative", "two"} {
		if text, err := foreign.ReadInside(root, name, 100); err != nil || string(text) != "inside" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for _, name := range []string{"leaves", "dangling", "magic"} {
		if text, err := foreign.ReadInside(root, name, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := foreign.ReadInside(root, "loop", 100); err == nil {
		t.Error("a link to itself is read")
	}
}

// TestWrite: whatever is there, the file is right afterwards or it is an error, nothing outside changes, and a regular file stays
// the same one.
func TestWrite(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			root, path := place(t)
			trap.set(t, path)
			before, err := os.Lstat(path)
			must(t, err)
			err = foreign.Write(root, "file", []byte("right\n"))
			if before.Mode().IsRegular() != (err == nil) {
				t.Errorf("%v", err)
			}
			if outside, err := os.ReadFile(filepath.Join(filepath.Dir(path), "..", "outside")); err != nil || string(outside) != "secret" {
				t.Errorf("outside: %q, %v", outside, err)
			}
			if !before.Mode().IsRegular() {
				return
			}
			after, err := os.Stat(path)
			if err != nil || after.Size() != 6 || !os.SameFile(before, after) {
				t.Errorf("%+v, %v", after, err)
			}
		})
	}
}

// TestWriteWhereFull: a file system that is full takes a file that does not grow.
func TestWriteWhereFull(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	dir := t.TempDir()
	must(t, unix.Mount("small", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	must(t, foreign.Write(root, "file", []byte("first\n")))
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("it does not get full: %v", err)
	}
	must(t, foreign.Write(root, "file", []byte("second\n")))
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "second\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := foreign.Write(root, "another", make([]byte, 5000)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("there is no room for it: %v", err)
	}
}
