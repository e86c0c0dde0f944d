package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/test/containerdenv"
)

// Whatever a container puts into a volume, no path in it leads out.
func TestBeneath(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("of the node"), 0o600))
	volume := filepath.Join(t.TempDir(), "volume")
	must(t, os.MkdirAll(filepath.Join(volume, "dir", "deep"), 0o755))
	must(t, os.WriteFile(filepath.Join(volume, "file"), nil, 0o644))
	for name, target := range map[string]string{
		"absolute": outside, "etc": "/etc", "up": "..", "far": "../../../../etc", "dir/up": "../..", "loop": "loop", "nowhere": outside + "/none",
		"magic": "/proc/self/root/etc", "inside": "dir", "dir/back": "../file",
	} {
		must(t, os.Symlink(target, filepath.Join(volume, name)))
	}
	for path, want := range map[string]string{"dir": "dir", "dir/deep": "dir/deep", "file": "file", "inside": "dir", "dir/back": "file", ".": ".", "dir/": "dir"} {
		found, err := beneath(volume, path, false)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got, err := os.Readlink("/proc/self/fd/" + fd(found))
		if err != nil || got != filepath.Join(volume, want) {
			t.Errorf("%s leads to %s, %v", path, got, err)
		}
		_ = found.Close()
	}
	for _, path := range []string{"absolute", "absolute/secret", "etc/passwd", "up", "far", "dir/up/secret", "loop", "nowhere", "magic", "magic/passwd",
		"../x", "dir/../../x", "/etc", "nowhere/new", "absolute/new", "a\x00b", strings.Repeat("a/", 3000)} {
		for _, mayMake := range []bool{false, true} {
			if found, err := beneath(volume, path, mayMake); err == nil {
				got, _ := os.Readlink("/proc/self/fd/" + fd(found))
				t.Errorf("%q leads to %s", path, got)
			}
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("something was made outside: %v", entries)
	}
}

func fd(f *os.File) string { return strconv.Itoa(int(f.Fd())) }

// A directory that is missing is made, for everybody who may write to the volume; in one of files nothing is made.
func TestBeneathMakes(t *testing.T) {
	volume := t.TempDir()
	must(t, os.Chmod(volume, 0o777))
	found, err := beneath(volume, "a/b/./c", true)
	if err != nil {
		t.Fatal(err)
	}
	_ = found.Close()
	for _, dir := range []string{"a", "a/b", "a/b/c"} {
		if info, err := os.Stat(filepath.Join(volume, dir)); err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if _, err := beneath(volume, "other", false); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}

// exchange gives two paths each other's name, as fast as it can, until it is stopped.
func exchange(one, other string) (stop func()) {
	var stopping atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for !stopping.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
		}
	}()
	return func() { stopping.Store(true); <-stopped }
}

// A container changes a directory into a link to the node and back, as fast as it can. What is found is in the volume, every time.
func TestBeneathIsRaced(t *testing.T) {
	outside := t.TempDir()
	volume := filepath.Join(t.TempDir(), "volume")
	real, link := filepath.Join(volume, "real"), filepath.Join(volume, "link")
	must(t, os.MkdirAll(filepath.Join(real, "sub"), 0o777))
	must(t, os.Symlink(outside, link))
	stop := exchange(real, link)
	inside := 0
	for range 20_000 {
		found, err := beneath(volume, "real/sub", true)
		if err != nil {
			continue
		}
		got, err := os.Readlink("/proc/self/fd/" + fd(found))
		if err != nil || !strings.HasPrefix(got, volume) {
			t.Errorf("found %s, %v", got, err)
			break
		}
		inside++
		_ = found.Close()
	}
	stop()
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("made outside: %v", entries)
	}
	if inside == 0 {
		t.Error("nothing was ever found: nothing was tried")
	}
}

// What is mounted is what was found, also when its path leads elsewhere by then; and only directories and files are.
func TestMountPath(t *testing.T) {
	containerdenv.RequireRoot(t)
	m := testManager(t)
	w := Wanted{Name: "data"}
	must(t, m.Make(t.Context(), uid, []Wanted{w}))
	place := m.place(uid, w)
	must(t, os.Mkdir(filepath.Join(place, "dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(place, "dir", "inside"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(place, "file"), []byte("y"), 0o644))
	must(t, unix.Mkfifo(filepath.Join(place, "fifo"), 0o666))

	first, err := m.Mount(uid, w, "main", 0, "dir")
	must(t, err)
	must(t, os.Rename(filepath.Join(place, "dir"), filepath.Join(place, "moved")))
	must(t, os.Symlink("/etc", filepath.Join(place, "dir")))
	if _, err := os.Stat(filepath.Join(first, "inside")); err != nil {
		t.Error(err)
	}
	if _, err := m.Mount(uid, w, "main", 0, "dir"); err == nil || !strings.Contains(err.Error(), "leads out of the volume") {
		t.Errorf("a link to /etc, for the next attempt: %v", err)
	}
	if _, err := m.Mount(uid, w, "main", 1, "fifo"); err == nil || !strings.Contains(err.Error(), "neither a directory nor a file") {
		t.Error(err)
	}
	again, err := m.Mount(uid, w, "main", 0, "file")
	must(t, err)
	if data, err := os.ReadFile(again); err != nil || string(data) != "y" || again != first {
		t.Errorf("%q, %v at %s", data, err, again)
	}
	if whole, err := m.Mount(uid, w, "main", 2, ""); err != nil || whole != place {
		t.Errorf("%s, %v", whole, err)
	}
	if _, err := m.Mount(uid, w, "../main", 2, ""); err == nil {
		t.Error("a container of a strange name")
	}
}
