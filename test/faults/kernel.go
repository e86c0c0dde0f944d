package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"miniplane.dev/miniplane/test/faults/sight"
	"miniplane.dev/miniplane/test/perf/procs"
)

// cgroupMount is where cgroup v2 is mounted, or the hierarchies of v1 below.
const cgroupMount = "/sys/fs/cgroup"

// kernel is the first witness: which containers have processes. It is asked without the product, containerd or the API server,
// which may all be away.
type kernel struct {
	// parents are the cgroups above those of MiniPods.
	parents []string
	procs   procs.Reader
}

// hierarchy is the directory of one hierarchy of cgroups in which every container is.
func hierarchy() string {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return cgroupMount
	}
	return filepath.Join(cgroupMount, "pids")
}

// look reads the cgroups of all MiniPods. Reading takes a moment, in which one container may end and the next begin: two that seem to
// live at once are read once more, and count only if each was there both times.
func (k kernel) look() sight.Look {
	look := k.read()
	doubtful := false
	for _, lives := range look {
		doubtful = doubtful || len(lives) > 1
	}
	if !doubtful {
		return look
	}
	again := k.read()
	for container, lives := range look {
		if len(lives) > 1 {
			look[container] = both(lives, again[container])
		}
	}
	return look
}

// both is what is in both lists; the second where they have nothing in common.
func both(a, b []sight.Life) []sight.Life {
	var out []sight.Life
	for _, life := range a {
		for _, other := range b {
			if life == other {
				out = append(out, life)
			}
		}
	}
	if len(out) == 0 {
		return b[:min(1, len(b))]
	}
	return out
}

func (k kernel) read() sight.Look {
	look := sight.Look{}
	for _, parent := range k.parents {
		groups, _ := filepath.Glob(filepath.Join(hierarchy(), parent, "pod*", "*", "cgroup.procs"))
		for _, group := range groups {
			if start := k.first(group); start > 0 {
				container, attempt := sight.Split(filepath.Base(filepath.Dir(group)))
				look[container] = append(look[container], sight.Life{Attempt: attempt, Start: start})
			}
		}
	}
	return look
}

// first is when the oldest process of a cgroup began; 0 if none lives.
func (k kernel) first(group string) (oldest uint64) {
	data, _ := os.ReadFile(group)
	for field := range bytes.FieldsSeq(data) {
		pid, err := strconv.Atoi(string(field))
		if err != nil {
			continue
		}
		if start, lives := k.procs.Life(pid); lives && (oldest == 0 || start < oldest) {
			oldest = start
		}
	}
	return oldest
}
