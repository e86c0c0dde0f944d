package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"miniplane.dev/miniplane/nodeagent/thread"
)

// Inside runs f on a thread that is in a cgroup that was created, in every hierarchy of cgroup v1, so that a process that f
// starts is born there.
//
// That is worth something: to move a process, the kernel waits for a grace period (8 to 15 ms), with a lock that every other
// move on the machine waits for. A thread that moves itself waits for nothing. cgroup v2 moves whole processes only; there a
// process is born in a cgroup by its descriptor (see Open).
func Inside(path string, f func() error) error {
	return thread.Spend(func() error {
		for _, h := range hierarchies() {
			if h.v2 {
				continue
			}
			// "0" is the thread that writes. For any other number the kernel would need the lock.
			if err := os.WriteFile(filepath.Join(h.root, path, "tasks"), []byte("0"), 0o644); err != nil {
				return fmt.Errorf("enter cgroup %s: %w", path, err)
			}
		}
		return f()
	})
}

// Legacy is where the hierarchies of cgroup v1 are mounted; none on a machine with v2 only.
func Legacy() []string {
	var roots []string
	for _, h := range hierarchies() {
		if !h.v2 {
			roots = append(roots, h.root)
		}
	}
	return roots
}

// Open opens a cgroup of v2 that was created, for a process to be born in it (CLONE_INTO_CGROUP). Nil if the machine has no
// hierarchy of v2.
func Open(path string) (*os.File, error) {
	for _, h := range hierarchies() {
		if h.v2 {
			return os.Open(filepath.Join(h.root, path))
		}
	}
	return nil, nil
}
