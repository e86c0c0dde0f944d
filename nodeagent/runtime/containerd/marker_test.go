package containerd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What cannot be read proves nothing, in either direction: neither that a process runs nor that it has ended.
func TestUnreadProvesNothing(t *testing.T) {
	first, server := family(os.Getpid())
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	if err := os.MkdirAll(r.dir("c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.mark("c", marker{process: first, server: server, letGo: true}); err != nil {
		t.Fatal(err)
	}
	const empty = "/miniplane-test-never-made"
	m := r.marked("c")
	if !m.runs() || m.ended() {
		t.Fatalf("this process: %+v", m)
	}
	other := m
	other.process.began++
	if other.runs() || !other.dead(empty) {
		t.Errorf("another that has its PID: %+v", other)
	}
	if other.dead("/") {
		t.Error("there are processes in its cgroup")
	}
	var blind marker
	withoutFiles(t, func() {
		blind = r.marked("c")
		if m.runs() || m.dead(empty) || other.dead(empty) {
			t.Error("known without a look")
		}
	})
	if !blind.exists() || blind.runs() || blind.dead(empty) {
		t.Errorf("a marker that was not read: %+v", blind)
	}
	r.opts.StateDir = filepath.Join(r.markerPath("c"), "no-directory")
	if m := r.marked("c"); !m.exists() || m.dead(empty) {
		t.Errorf("a marker that could not be looked for: %+v", m)
	}
}

// TestMarkedAgain: a marker is never half written, whenever the agent is killed. What was there stays as it is until the next is complete.
func TestMarkedAgain(t *testing.T) {
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	if err := os.MkdirAll(r.dir("c"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := marker{process: process{1, 2}, server: process{3, 4}}
	if err := r.mark("c", first); err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(r.markerPath("c"))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	first.letGo = true
	if err := r.mark("c", first); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(before); err != nil || string(text) != "1 2 false 3 4\n" {
		t.Errorf("what was there is %q: %v", text, err)
	}
	if m := r.marked("c"); !m.letGo || m.process != first.process || m.server != first.server {
		t.Errorf("now %+v", m)
	}
	// Where no other can be written, the first stays, and nothing else. (This one is cut off: the file system has no place for it.)
	full := filepath.Join(t.TempDir(), "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=4k"); err != nil {
		t.Logf("a full file system is not tried: %v", err)
		return
	}
	defer func() { _ = unix.Unmount(full, unix.MNT_DETACH) }()
	r.opts.StateDir = full
	if err := os.MkdirAll(r.dir("c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.mark("c", first); err != nil {
		t.Fatal(err)
	}
	if err := r.mark("c", marker{}); !errors.Is(err, unix.ENOSPC) || !r.marked("c").letGo {
		t.Errorf("%v, and the marker is %+v", err, r.marked("c"))
	}
	if left, err := os.ReadDir(r.dir("c")); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestMarkedTogether: a start and looks write a marker at the same time. None fails for it, and who reads meanwhile reads a whole one with
// the time that it is of.
func TestMarkedTogether(t *testing.T) {
	r := &Runtime{opts: Options{StateDir: t.TempDir()}}
	if err := os.MkdirAll(r.dir("c"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := marker{at: time.Unix(1000, 0), process: process{1, 2}, server: process{3, 4}, letGo: true}
	if err := r.mark("c", want); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 300 {
				if err := r.mark("c", want); err != nil {
					t.Error(err)
				}
				if m := r.marked("c"); m != want {
					t.Errorf("%+v", m)
				}
			}
		})
	}
	all.Wait()
	if left, err := os.ReadDir(r.dir("c")); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// withoutFiles has the process open no more files for a moment.
func withoutFiles(t *testing.T, f func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
}
