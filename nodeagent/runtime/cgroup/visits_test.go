package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// Two may remove one cgroup at a time: the one that comes second must not kill who was in it only for a moment, such as the server of
// all containers.
func TestGoneIsNobodysHome(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if !visits(gone, os.Getpid()) {
		t.Error("a process that was listed in a cgroup is killed when that is gone")
	}
	v2 := t.TempDir()
	if err := os.WriteFile(filepath.Join(v2, "cgroup.threads"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if visits(v2, os.Getpid()) {
		t.Error("a process in a cgroup of v2 is a visitor")
	}
	v1 := t.TempDir()
	if err := os.WriteFile(filepath.Join(v1, "tasks"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !visits(v1, os.Getpid()) {
		t.Error("a process whose first thread lives elsewhere is no visitor")
	}
}
