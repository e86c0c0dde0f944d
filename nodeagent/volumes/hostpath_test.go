package volumes

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"miniplane.dev/miniplane/test/containerdenv"
)

// here is a machine that is seen as it is.
func here(do func() error) error { return do() }

// TestHostTypes: what is there has to be what is asked for; what may be made is, and nothing that is there is changed.
func TestHostTypes(t *testing.T) {
	containerdenv.RequireRoot(t)
	dir := t.TempDir()
	file, socket, link := filepath.Join(dir, "file"), filepath.Join(dir, "socket"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk")
	if err := unix.Mknod(disk, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		kind corev1.HostPathType
		want string // in the error; none if it is well
	}{
		{dir, "", ""}, {file, "", ""}, {socket, "", ""}, {filepath.Join(dir, "new", "er"), "", ""},
		{dir, corev1.HostPathDirectory, ""}, {link, corev1.HostPathDirectory, ""}, {file, corev1.HostPathDirectory, file + " is not a directory"},
		{filepath.Join(dir, "none"), corev1.HostPathDirectory, "it is not there"}, {filepath.Join(file, "x"), corev1.HostPathDirectory, "a part of it is a file"},
		{filepath.Join(dir, "made", "too"), corev1.HostPathDirectoryOrCreate, ""}, {file, corev1.HostPathDirectoryOrCreate, "is not a directory"},
		{file, corev1.HostPathFile, ""}, {dir, corev1.HostPathFile, "is not a file"}, {filepath.Join(dir, "none"), corev1.HostPathFile, "it is not there"},
		{filepath.Join(dir, "touched"), corev1.HostPathFileOrCreate, ""}, {file, corev1.HostPathFileOrCreate, ""}, {dir, corev1.HostPathFileOrCreate, "is not a file"},
		{filepath.Join(dir, "none", "touched"), corev1.HostPathFileOrCreate, "it is not there"},
		{socket, corev1.HostPathSocket, ""}, {file, corev1.HostPathSocket, "is not a socket"},
		{"/dev/null", corev1.HostPathCharDev, ""}, {disk, corev1.HostPathCharDev, "is not a character device"},
		{disk, corev1.HostPathBlockDev, ""}, {"/dev/null", corev1.HostPathBlockDev, "is not a block device"},
		{dir, "Pipe", "is not known"},
	} {
		err := (&Host{Path: test.path, Type: test.kind}).check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s as %q: %v, want %q", test.path, test.kind, err, test.want)
		}
	}
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Join(dir, "touched"): 0o644, filepath.Join(dir, "made", "too"): os.ModeDir | 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// TestHostSubPath: a path in a hostPath may lead to what is mounted there, but not out of it; and when it is given up, nothing is unmounted on the node.
func TestHostSubPath(t *testing.T) {
	containerdenv.RequireRoot(t)
	m, err := New(t.TempDir(), t.TempDir(), here)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(m.(*manager).memory, unix.MNT_DETACH) }()
	node := t.TempDir()
	if err := unix.Mount(node, node, "", unix.MS_BIND, ""); err != nil { // shared, as what systemd mounts
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(node, unix.MNT_DETACH) }()
	if err := unix.Mount("", node, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	mountAt := func(path string) {
		t.Helper()
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("x", path, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	mountAt(filepath.Join(node, "disk"))
	if err := os.Symlink("/etc", filepath.Join(node, "out")); err != nil {
		t.Fatal(err)
	}
	w := Wanted{Name: "v", Host: &Host{Path: node}, Follow: true}
	if _, err := m.Mount("uid", w, "main", 0, "out/passwd"); err == nil || !strings.Contains(err.Error(), "leads out of the volume") {
		t.Errorf("out of it: %v", err)
	}
	place, err := m.Mount("uid", w, "main", 0, "disk/made")
	if err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(node, "disk", "made", "later")
	mountAt(later)
	if !mounted(filepath.Join(place, "later")) {
		t.Error("what is mounted on the node is not seen")
	}
	w.Follow = false
	apart, err := m.Mount("uid", w, "main", 1, "disk")
	if err != nil {
		t.Fatal(err)
	}
	mountAt(filepath.Join(node, "disk", "latest"))
	if mounted(filepath.Join(apart, "latest")) {
		t.Error("what is mounted on the node is seen where that was not asked for")
	}
	for range 2 { // also for the next container at that place
		if _, err := m.Mount("uid", w, "main", 0, "disk"); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Remove("uid"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{later, filepath.Join(node, "disk"), filepath.Join(node, "disk", "latest")} {
		if !mounted(path) {
			t.Errorf("%s is not mounted on the node any more", path)
		}
	}
}
