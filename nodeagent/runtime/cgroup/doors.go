package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
)

// Doors opens a cgroup that was created, in every hierarchy of cgroup v1, for a process that is given the files to enter by itself: it writes
// "0" into each. With v2 only there are none: a process is born in its cgroup there (see Open).
//
// That is for a cgroup in which others run already. Whoever is in it lives by its limits: its share of the cpu, its memory, which
// may be used up by what nobody's end frees. A thread that starts a process from inside (see Inside) would wait by them, with
// what all others wait for who start one. A process that goes in on its own can be killed, and only it waits.
//
// The caller closes them, also beside an error.
func Doors(path string) ([]*os.File, error) {
	var doors []*os.File
	for _, h := range hierarchies() {
		if h.v2 {
			continue
		}
		door, err := os.OpenFile(filepath.Join(h.root, path, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return doors, fmt.Errorf("cgroup %s: %w", path, err)
		}
		doors = append(doors, door)
	}
	return doors, nil
}
