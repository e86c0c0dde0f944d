package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// marker says that a container was started in this boot, and which process it is. With it the kernel can be asked whether the
// container lives, who always answers; a shim may not.
type marker struct {
	// at is when it was let go, or else when it was about to be; zero where there is no marker.
	at time.Time
	// pid of its first process, and when that began, as the kernel counts. Zero in the markers of earlier versions.
	pid   int
	began uint64
	// letGo tells that the runtime was seen to start it. Where it was not, its init may wait, or the answer was lost.
	letGo bool
}

// markerPath is a file in StateDir, which does not outlive a boot.
func (r *Runtime) markerPath(id string) string { return filepath.Join(r.dir(id), "started") }

// mark writes a marker. The file's time is when.
func (r *Runtime) mark(id string, m marker) error {
	text := fmt.Sprintf("%d %d %t\n", m.pid, m.began, m.letGo)
	return os.WriteFile(r.markerPath(id), []byte(text), 0o600)
}

// marked reads a container's marker.
func (r *Runtime) marked(id string) marker {
	path := r.markerPath(id)
	info, err := os.Stat(path)
	if err != nil {
		return marker{}
	}
	m := marker{at: info.ModTime()}
	if text, err := os.ReadFile(path); err == nil {
		_, _ = fmt.Sscan(string(text), &m.pid, &m.began, &m.letGo) // an earlier version's is empty
	}
	return m
}

func (m marker) exists() bool { return !m.at.IsZero() }

// runs tells whether the first process is certain to run: it is there, it is no other that got its PID, and it was let go.
func (m marker) runs() bool {
	if m.pid == 0 || !m.letGo {
		return false
	}
	began, alive := began(m.pid)
	return alive && began == m.began
}

// dead tells whether it is proven that no process of the container is left. A process that has ended but was not waited for is none.
func (m marker) dead(cgroupPath string) bool {
	if m.pid != 0 {
		if began, alive := began(m.pid); alive && began == m.began {
			return false
		}
	}
	return cgroupPath != "" && len(cgroup.PIDs(cgroupPath)) == 0
}

// began is when a process began, in the kernel's ticks since its boot; false if it has ended.
func began(pid int) (uint64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field is the program's name in brackets, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	at, err := strconv.ParseUint(fields[19], 10, 64)
	return at, err == nil
}

// adopt completes the marker of a container that its shim says runs: it was let go by an agent that did not hear of it, or by
// an earlier version.
func (r *Runtime) adopt(_ context.Context, id string, m marker, pid int) {
	if m.letGo && m.pid != 0 {
		return
	}
	start, alive := began(pid)
	if !alive {
		return
	}
	at := m.at
	if r.mark(id, marker{pid: pid, began: start, letGo: true}) == nil {
		_ = os.Chtimes(r.markerPath(id), at, at)
	}
}
