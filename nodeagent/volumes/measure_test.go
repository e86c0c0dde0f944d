package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/test/containerdenv"
)

// TestUsage: what a tree takes of the disk is what du says, whatever a container made of it.
func TestUsage(t *testing.T) {
	containerdenv.RequireRoot(t)
	m := newManager(t.TempDir(), t.TempDir())
	if err := m.Make(t.Context(), "uid", []Wanted{{Name: "v"}, {Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(m.disk, "uid", "v")
	write := func(path string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	usage := func() int64 {
		t.Helper()
		got, err := m.Usage(t.Context(), "uid", []string{"v", "other", "none"})
		if err != nil || len(got) != 2 || got["other"] != 0 {
			t.Fatalf("%v, %v", got, err)
		}
		return got["v"]
	}
	const mega = 1 << 20
	write("a", mega)
	write("deep/er/b", 2*mega)
	for i := range 2500 { // more than are looked at in a row
		write(fmt.Sprintf("many/%d", i), 0)
	}
	before := usage()
	if before < 3*mega || before > 4*mega {
		t.Errorf("%d bytes", before)
	}
	// Nothing of this takes any room to speak of.
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "large"), make([]byte, 5*mega), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink(outside, filepath.Join(root, "link")), unix.Mkfifo(filepath.Join(root, "pipe"), 0o600),
		os.Link(filepath.Join(root, "a"), filepath.Join(root, "deep", "a-again")), os.Truncate(filepath.Join(root, "many", "1"), 1<<40),
		os.Mkdir(filepath.Join(root, "mounted"), 0o700), unix.Mount(outside, filepath.Join(root, "mounted"), "", unix.MS_BIND, "")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = unix.Unmount(filepath.Join(root, "mounted"), unix.MNT_DETACH) }()
	if after := usage(); after-before > mega/2 || after < before {
		t.Errorf("%d bytes, and %d before", after, before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Usage(ctx, "uid", []string{"v"}); err == nil {
		t.Error("it goes on when nobody wants to know any more")
	}
	// Deeper than a path can be long.
	if err := os.MkdirAll(filepath.Join(root, strings.Repeat("d/", 1000)), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := usage(); got > 20*mega {
		t.Errorf("%d bytes", got)
	}
	at, err := unix.Open(filepath.Join(root, strings.Repeat("d/", 1000)), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	if err := unix.Mkdirat(at, strings.Repeat("x", 20), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		if err := unix.Mkdirat(at, "x", 0o700); err != nil {
			t.Fatal(err)
		}
		below, err := unix.Openat(at, "x", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(below)
		at = below
	}
	if got := usage(); got < tooMuch {
		t.Errorf("what cannot be looked at counts as %d bytes", got)
	}
	_ = unix.Unmount(filepath.Join(root, "mounted"), unix.MNT_DETACH)
	if err := m.Remove("uid"); err != nil {
		t.Error(err)
	}
}

// TestUsageTakesNoMemory: a tree that is deep, and has many long names at each of its levels, is not held in memory while it is looked at.
func TestUsageTakesNoMemory(t *testing.T) {
	containerdenv.RequireRoot(t)
	m := newManager(t.TempDir(), t.TempDir())
	if err := m.Make(t.Context(), "uid", []Wanted{{Name: "v"}}); err != nil {
		t.Fatal(err)
	}
	const deep, wide = 20, 1024
	dir := filepath.Join(m.disk, "uid", "v")
	for range deep {
		dir = filepath.Join(dir, "d")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range wide {
			if err := os.Symlink("x", filepath.Join(dir, fmt.Sprintf("%0255d", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	live := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before, most := live(), uint64(0)
	done := make(chan error, 1)
	go func() {
		_, err := m.Usage(t.Context(), "uid", []string{"v"})
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			if most > before+3<<20 {
				t.Errorf("%.1f MiB are held", float64(most-before)/(1<<20))
			}
			return
		case <-time.After(20 * time.Millisecond):
			most = max(most, live())
		}
	}
}
