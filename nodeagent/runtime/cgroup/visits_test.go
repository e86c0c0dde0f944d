package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Two may remove one cgroup at a time: the one that comes second must not kill who was in it only for a moment, such as the server of
// all containers.
func TestGoneIsNobodysHome(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if !certainly(visits(gone, os.Getpid())) {
		t.Error("a process that was listed in a cgroup is killed when that is gone")
	}
	v2 := t.TempDir()
	if err := os.WriteFile(filepath.Join(v2, "cgroup.threads"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if certainly(visits(v2, os.Getpid())) {
		t.Error("a process in a cgroup of v2 is a visitor")
	}
	v1 := t.TempDir()
	if err := os.WriteFile(filepath.Join(v1, "tasks"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !certainly(visits(v1, os.Getpid())) {
		t.Error("a process whose first thread lives elsewhere is no visitor")
	}
}

func certainly(visits bool, err error) bool { return visits && err == nil }

// An agent that has too many files open knows of no cgroup that it is empty.
func TestNotReadIsNotEmpty(t *testing.T) {
	const path = "/miniplane-test-never-made"
	if !Empty(path) {
		t.Error("a cgroup that is not there has processes")
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	root := Empty("/")
	_, unread := Members("/")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if root {
		t.Error("the cgroup of everybody is empty")
	}
	if unread == nil {
		t.Error("the processes of everybody are known without a look")
	}
}
