package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/test/containerdenv"
)

const uid types.UID = "0a1b-uid"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testManager is one on directories of its own, of which nothing is left at the end.
func testManager(t testing.TB) *manager {
	t.Helper()
	containerdenv.RequireRoot(t)
	dir := t.TempDir()
	made, err := New(filepath.Join(dir, "state"), filepath.Join(dir, "root"), here)
	must(t, err)
	m := made.(*manager)
	t.Cleanup(func() {
		m.after = quietly
		if err := Cleanup(filepath.Join(dir, "state"), filepath.Join(dir, "root")); err != nil {
			t.Error(err)
		}
		if left := mountsAt(t, dir); len(left) > 0 {
			t.Errorf("mounts left: %v", left)
		}
		for _, place := range []string{m.memory, m.disk} {
			if _, err := os.Lstat(place); err == nil {
				t.Errorf("%s is left", place)
			}
		}
	})
	return m
}

func mountsAt(t testing.TB, dir string) []string {
	t.Helper()
	points, err := mountsBelow(dir)
	must(t, err)
	return points
}

// all is one of each.
func all() []Wanted {
	return []Wanted{{Name: "disk"}, {Name: "memory", Memory: 1 << 20}, {Name: "files", Files: text("a", "1")}, {Name: "none", Files: Files{}}}
}

// andImage is one of each, and one of an image's files, which are a mount.
func andImage() []Wanted {
	return append(all(), Wanted{Name: "image", Image: true, Fill: func(_ context.Context, dir string) error {
		return unix.Mount("image", dir, "tmpfs", unix.MS_RDONLY, "")
	}})
}

func TestVolumes(t *testing.T) {
	m := testManager(t)
	must(t, m.Make(t.Context(), uid, all()))
	for name, mode := range map[string]os.FileMode{"disk": 0o777, "memory": 0o777, "files": 0o755} {
		for _, w := range all() {
			if w.Name != name {
				continue
			}
			if info, err := os.Stat(m.place(uid, w)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
	}
	// Memory ends where it should, and files of one volume too.
	if err := os.WriteFile(filepath.Join(m.place(uid, all()[1]), "big"), make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("2 MiB in 1 MiB of memory: %v", err)
	}
	// Nobody but root passes the directories above, whatever containers leave in them.
	for _, dir := range []string{m.memory, filepath.Join(m.disk, string(uid))} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	// Whoever makes it again leaves what is there, and changes files.
	precious := filepath.Join(m.place(uid, all()[0]), "precious")
	must(t, os.WriteFile(precious, []byte("x"), 0o600))
	mounts := len(mountsAt(t, m.memory))
	must(t, m.Make(t.Context(), uid, []Wanted{{Name: "disk"}, {Name: "memory", Memory: 1 << 20}, {Name: "files", Files: text("a", "2")}}))
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if got := shown(t, m.place(uid, all()[2])); got["a"] != "2" {
		t.Errorf("files %v", got)
	}
	if now := len(mountsAt(t, m.memory)); now != mounts {
		t.Errorf("%d mounts became %d", mounts, now)
	}
	if !m.Made(uid, "files") || !m.Made(uid, "none") || m.Made(uid, "other") {
		t.Error("which files are there is not known")
	}

	uids, err := m.List()
	if diff := cmp.Diff([]types.UID{uid}, uids); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	must(t, m.Remove(uid))
	must(t, m.Remove(uid)) // nothing to do
	if uids, err := m.List(); len(uids) > 0 || err != nil {
		t.Errorf("%v, %v", uids, err)
	}
}

// An agent that dies after any step of making or removing leaves what the next one completes, finds and takes away.
func TestVolumesCutShort(t *testing.T) {
	errCut := errors.New("cut")
	for _, making := range []bool{true, false} {
		steps := 0
		for cut := 0; ; cut++ {
			m := testManager(t)
			if !making {
				must(t, m.Make(t.Context(), uid, andImage()))
			}
			done := 0
			m.after = func(string) error {
				if done++; done > cut {
					return errCut
				}
				return nil
			}
			var err error
			if making {
				err = m.Make(t.Context(), uid, andImage())
			} else {
				err = m.Remove(uid)
			}
			if err != nil && !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			m.after = quietly
			if uids, errList := m.List(); len(uids) != 1 && (making && cut > 0 || err != nil) {
				t.Errorf("making %t, cut after step %d: found %v, %v", making, cut, uids, errList)
			}
			if making {
				must(t, m.Make(t.Context(), uid, andImage()))
				if got := shown(t, m.place(uid, all()[2])); got["a"] != "1" {
					t.Errorf("cut after step %d: files %v", cut, got)
				}
				if n := len(mountsAt(t, m.imageDir(uid, "image"))); n != 1 || !m.Made(uid, "image") {
					t.Errorf("cut after step %d: the image is mounted %d times", cut, n)
				}
			}
			must(t, m.Remove(uid))
			for _, dir := range []string{m.memory, m.disk} {
				if entries, _ := os.ReadDir(dir); len(entries) > 0 {
					t.Errorf("making %t, cut after step %d: left %v", making, cut, entries)
				}
			}
			if err == nil {
				break
			}
			steps++
		}
		if making && steps < 12 || steps < 1 {
			t.Errorf("making %t: only %d steps were tried", making, steps)
		}
	}
}

// An agent that dies while it mounts a path of a volume for a container leaves what the next one does again, and takes away, with all that the container mounted there.
func TestPathsCutShort(t *testing.T) {
	errCut := errors.New("cut")
	node := t.TempDir()
	must(t, os.Mkdir(filepath.Join(node, "dir"), 0o755))
	for name, w := range map[string]Wanted{"ours": {Name: "data"}, "the node's": {Name: "data", Host: &Host{Path: node}}} {
		for _, last := range []string{"place of the path", "mount of the path"} {
			t.Run(name+", "+last, func(t *testing.T) {
				m := testManager(t)
				must(t, m.Make(t.Context(), uid, []Wanted{w}))
				m.after = func(step string) error {
					if step == last {
						return errCut
					}
					return nil
				}
				if _, err := m.Mount(uid, w, "main", 0, "dir"); !errors.Is(err, errCut) {
					t.Fatal(err)
				}
				m.after = quietly
				place, err := m.Mount(uid, w, "main", 0, "dir")
				must(t, err)
				if n := len(mountsAt(t, place)); n != 1 {
					t.Errorf("mounted %d times", n)
				}
				if uids, err := m.List(); len(uids) != 1 || err != nil {
					t.Errorf("the next agent knows of %v, %v", uids, err)
				}
				must(t, m.Remove(uid))
				if left := mountsAt(t, filepath.Join(m.memory, string(uid))); len(left) > 0 {
					t.Errorf("mounts left: %v", left)
				}
				if _, err := os.Stat(filepath.Join(node, "dir")); err != nil {
					t.Errorf("the node's own directory: %v", err)
				}
			})
		}
	}
}

// Volumes of an image go with their container, also when the agent died while it took them away, and when the container mounted something there.
func TestVolumesOfAnImageCutShort(t *testing.T) {
	m, errCut := testManager(t), errors.New("cut")
	dir := filepath.Join(m.OfImage(uid, "c-0"), "volume")
	must(t, os.MkdirAll(filepath.Join(dir, "mounted"), 0o755))
	must(t, unix.Mount("x", filepath.Join(dir, "mounted"), "tmpfs", 0, ""))
	m.after = func(string) error { return errCut }
	if err := m.RemoveOfImage(uid, "c-0"); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	m.after = quietly
	for range 2 { // the second time there is nothing to do
		must(t, m.RemoveOfImage(uid, "c-0"))
	}
	if entries, err := os.ReadDir(filepath.Dir(m.OfImage(uid, "c-0"))); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	must(t, m.Remove(uid))
}

func TestVolumesRefuse(t *testing.T) {
	m := testManager(t)
	for _, strange := range []types.UID{"", "..", "../x", "a/b", "-x"} {
		if m.Make(t.Context(), strange, nil) == nil || m.Remove(strange) == nil {
			t.Errorf("UID %q is taken", strange)
		}
	}
	if err := m.Make(t.Context(), uid, []Wanted{{Name: "../up"}}); err == nil {
		t.Error("a volume's name that is a path is taken")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Make(over, uid, all()); !errors.Is(err, context.Canceled) {
		t.Errorf("made after the end: %v", err)
	}
	if uids, err := m.List(); len(uids) > 0 || err != nil {
		t.Errorf("%v, %v", uids, err)
	}
}

// Whatever a container leaves is taken away: trees deeper than a path can be long, many files, sockets and pipes, what is made immutable, what is
// mounted there; and links to outside lead nowhere.
func TestRemove(t *testing.T) {
	m := testManager(t)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600))
	must(t, m.Make(t.Context(), uid, all()))
	place := m.place(uid, all()[0])
	deep, err := os.OpenRoot(place)
	must(t, err)
	for range 3000 {
		must(t, deep.Mkdir("d", 0))
		next, err := deep.OpenRoot("d")
		must(t, err)
		_ = deep.Close()
		deep = next
	}
	_ = deep.Close()
	must(t, os.Mkdir(filepath.Join(place, "wide"), 0o777))
	for i := range 3000 {
		must(t, os.WriteFile(filepath.Join(place, "wide", fmt.Sprint(i)), nil, 0))
	}
	must(t, os.Symlink(outside, filepath.Join(place, "link")))
	must(t, os.Symlink("/", filepath.Join(place, "wide", "link")))
	must(t, unix.Mkfifo(filepath.Join(place, "fifo"), 0o666))
	must(t, os.Mkdir(filepath.Join(place, "..moved-1"), 0o777)) // the name of what a removal moves
	must(t, os.Mkdir(filepath.Join(place, "mounted"), 0o777))
	must(t, unix.Mount(outside, filepath.Join(place, "mounted"), "", unix.MS_BIND, ""))
	_, err = m.Mount(uid, Wanted{Name: "disk"}, "main", 0, "wide")
	must(t, err)
	must(t, m.Remove(uid))
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Errorf("what a link or a mount led to is gone: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(m.disk, string(uid))); err == nil {
		t.Error("something is left")
	}
	if left := mountsAt(t, filepath.Join(m.memory, string(uid))); len(left) > 0 {
		t.Errorf("mounts left: %v", left)
	}
}

// What a container made immutable (it needs a capability for that) goes as well.
func TestRemoveImmutable(t *testing.T) {
	m := testManager(t)
	must(t, m.Make(t.Context(), uid, all()))
	place := m.place(uid, all()[0])
	must(t, os.MkdirAll(filepath.Join(place, "dir", "sub"), 0o777))
	must(t, os.WriteFile(filepath.Join(place, "dir", "file"), nil, 0o600))
	for _, name := range []string{"dir/file", "dir/sub", "dir"} {
		f, err := os.Open(filepath.Join(place, name))
		must(t, err)
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, fsImmutable)
		_ = f.Close()
		if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("SKIPPED: the file system of temporary directories has no immutable files")
		}
		must(t, err)
	}
	if err := os.Remove(filepath.Join(place, "dir", "file")); err == nil || !strings.Contains(err.Error(), "not permitted") {
		t.Fatalf("it was to be immutable: %v", err)
	}
	must(t, m.Remove(uid))
	if _, err := os.Lstat(place); err == nil {
		t.Error("it is left")
	}
}

// fsImmutable is FS_IMMUTABLE_FL.
const fsImmutable = 0x10
