package volumes

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
)

// Files are read anew each time, on disk and in memory, also through links within the volume.
func TestRead(t *testing.T) {
	m := testManager(t)
	for _, w := range []Wanted{{Name: "disk"}, {Name: "memory", Memory: 1 << 20}} {
		must(t, m.Make(t.Context(), uid, []Wanted{w}))
		place := m.place(uid, w)
		must(t, os.Mkdir(filepath.Join(place, "dir"), 0o700))
		must(t, os.Symlink("dir/file", filepath.Join(place, "link")))
		must(t, os.Symlink("../dir", filepath.Join(place, "dir", "round")))
		for _, text := range []string{"", "A='1'\n", strings.Repeat("x", 100)} {
			must(t, os.WriteFile(filepath.Join(place, "dir", "file"), []byte(text), 0o000))
			for _, path := range []string{"dir/file", "link", "./dir//file", "dir/round/file"} {
				if got, err := m.Read(uid, w, path, 100); err != nil || string(got) != text {
					t.Errorf("%s of %s: %q, %v", path, w.Name, got, err)
				}
			}
		}
		for _, path := range []string{"none", "none/file", "dir/none"} {
			if _, err := m.Read(uid, w, path, 100); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of %s: %v", path, w.Name, err)
			}
		}
	}
	if _, err := m.Read(uid, Wanted{Name: "other"}, "file", 100); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a volume that is not there: %v", err)
	}
	for _, wrong := range []string{"../x", "a b", ""} {
		if _, err := m.Read(uid, Wanted{Name: wrong}, "file", 100); err == nil {
			t.Errorf("a volume of the name %q is read", wrong)
		}
	}
}

// What a container can put in the place of a file: nothing of the node is read, nobody is waited for, and nothing is opened but a regular file.
func TestReadTraps(t *testing.T) {
	m := testManager(t)
	w := Wanted{Name: "data"}
	must(t, m.Make(t.Context(), uid, []Wanted{w}))
	place := m.place(uid, w)
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("of the node"), 0o600))
	at := func(name string) string { return filepath.Join(place, name) }
	for name, target := range map[string]string{"absolute": outside, "passwd": "/etc/passwd", "up": "../../../../../../../../../etc/passwd", "etc": "/etc", "loop": "loop",
		"magic": "/proc/self/fd/0", "self": "/proc/self/environ"} {
		must(t, os.Symlink(target, at(name)))
	}
	must(t, os.Mkdir(at("dir"), 0o755))
	must(t, os.Mkdir(at("mount"), 0o755))
	must(t, os.WriteFile(at("file"), nil, 0o644))
	must(t, unix.Mkfifo(at("fifo"), 0o666))
	must(t, os.Symlink("fifo", at("tofifo")))
	must(t, os.WriteFile(at("huge"), nil, 0o644))
	must(t, os.Truncate(at("huge"), 1<<40))
	must(t, os.WriteFile(at("one"), []byte(strings.Repeat("x", 101)), 0o644))
	address := filepath.Join("/proc/self/fd", fd(open(t, place)), "socket") // a socket's path is short
	l, err := net.Listen("unix", address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	must(t, unix.Mount("small", at("mount"), "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(at("mount"), unix.MNT_DETACH)) })
	must(t, os.WriteFile(at("mount/file"), []byte("mounted"), 0o644))
	invalid := []string{"dir", ".", "fifo", "tofifo", "huge", "one", "socket"}
	// Nobody has a driver of this number: to open it would be another error.
	if err := unix.Mknod(at("device"), unix.S_IFCHR|0o666, int(unix.Mkdev(10, 254))); err == nil {
		invalid = append(invalid, "device")
	} else if !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	for _, path := range invalid {
		if text, err := m.Read(uid, w, path, 100); !errdefs.IsInvalidArgument(err) || len(text) > 0 {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	for _, path := range []string{"absolute", "passwd", "up", "etc/passwd", "loop", "magic", "self", "file/x", "mount/file", "/etc/passwd", "../data/file", "dir/../../x", "a\x00b",
		strings.Repeat("a/", 3000)} {
		if text, err := m.Read(uid, w, path, 1<<20); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %q, %v", path, text, err)
		}
	}
}

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	file, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}

// A container exchanges the file for a link to the node's and back, as fast as it can.
func TestReadIsRaced(t *testing.T) {
	m := testManager(t)
	w := Wanted{Name: "data"}
	must(t, m.Make(t.Context(), uid, []Wanted{w}))
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("of the node"), 0o600))
	file, link := filepath.Join(m.place(uid, w), "file"), filepath.Join(m.place(uid, w), "link")
	must(t, os.WriteFile(file, []byte("own"), 0o644))
	must(t, os.Symlink(outside, link))
	stop := exchange(file, link)
	read := 0
	for range 10_000 {
		text, err := m.Read(uid, w, "file", 100)
		if err == nil && string(text) != "own" {
			t.Errorf("read %q", text)
			break
		}
		if err == nil {
			read++
		}
	}
	stop()
	if read == 0 {
		t.Error("nothing was ever read: nothing was tried")
	}
}

// Whoever holds a lease of the file, as a container can, has nobody wait for it.
func TestReadWaitsForNoLease(t *testing.T) {
	m := testManager(t)
	w := Wanted{Name: "data"}
	must(t, m.Make(t.Context(), uid, []Wanted{w}))
	path := filepath.Join(m.place(uid, w), "file")
	must(t, os.WriteFile(path, []byte("x"), 0o644))
	held, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = held.Close() }()
	if _, err := unix.FcntlInt(held.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("SKIPPED: no leases here: %v", err)
	}
	if _, err := m.Read(uid, w, "file", 100); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%v, want it not to be opened now", err)
	}
}
