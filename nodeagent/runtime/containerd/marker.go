package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/containers"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/waiting"
)

// marker says that a container was started in this boot, and which process it is. With it the kernel can be asked whether the
// container lives, who always answers; a shim may not.
type marker struct {
	// at is when it was let go, or else when it was about to be; zero where there is no marker.
	at time.Time
	// process is its first. Zero in the markers of earlier versions.
	process process
	// server is the process that started it and is told of its end. Zero in the markers of earlier versions.
	server process
	// letGo tells that the runtime was seen to start it. Where it was not, its init may wait, or the answer was lost.
	letGo bool
	// unread: whether there is one, or what it says, could not be read, and nothing follows from it.
	unread bool
}

// process is one that no other can be taken for.
type process struct {
	pid int
	// began is when, as the kernel counts: in ticks since its boot.
	began uint64
}

// markerPath is a file in StateDir, which does not outlive a boot.
func (r *Runtime) markerPath(id string) string { return filepath.Join(r.dir(id), "started") }

// mark writes a marker, or leaves the one that is there. Its time is when the process was let go, or now. It is whole at any moment,
// also with another mark beside it: a start and a look may write the same marker.
func (r *Runtime) mark(id string, m marker) error {
	path := r.markerPath(id)
	next, err := os.CreateTemp(filepath.Dir(path), "started.*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(next, "%d %d %t %d %d\n", m.process.pid, m.process.began, m.letGo, m.server.pid, m.server.began)
	err = errors.Join(err, next.Close())
	if err == nil && !m.at.IsZero() {
		err = os.Chtimes(next.Name(), m.at, m.at)
	}
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		_ = os.Remove(next.Name())
	}
	return err
}

// marked reads a container's marker.
func (r *Runtime) marked(id string) marker {
	path := r.markerPath(id)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return marker{}
	}
	if err != nil {
		return marker{unread: true}
	}
	m := marker{at: info.ModTime()}
	text, err := os.ReadFile(path)
	m.unread = err != nil
	// An earlier version's is shorter, or empty.
	_, _ = fmt.Sscan(string(text), &m.process.pid, &m.process.began, &m.letGo, &m.server.pid, &m.server.began)
	return m
}

func (m marker) exists() bool { return m.unread || !m.at.IsZero() }

// runs tells whether the first process is certain to run: it is there, it is no other that got its PID, and it was let go.
func (m marker) runs() bool { return m.letGo && m.process.lives() }

// orphaned tells of one that runs, as it was seen, whether the server that started it is gone: then its end is told to nobody.
func (m marker) orphaned(now sight) bool { return m.server.pid != 0 && now.parent != m.server.pid }

// ended tells whether it is proven that the first process is not there any more.
func (m marker) ended() bool { return !m.unread && m.process.gone() }

// dead tells whether it is proven that no process of the container is left. A process that has ended but was not waited for is none.
func (m marker) dead(cgroupPath string) bool {
	return m.ended() && cgroupPath != "" && cgroup.Empty(cgroupPath)
}

// lives tells whether the process is certain to be there, and no other that got its PID.
func (p process) lives() bool { _, lives := p.look(); return lives }

// look is what the kernel shows of it; false if it is not certain to be there.
func (p process) look() (now sight, lives bool) {
	if p.pid == 0 {
		return sight{}, false
	}
	now, alive, err := seen(p.pid)
	return now, err == nil && alive && now.began == p.began
}

// gone tells whether it is certain not to be there. That the kernel did not tell is no such thing.
func (p process) gone() bool {
	if p.pid == 0 {
		return true
	}
	now, alive, err := seen(p.pid)
	return err == nil && (!alive || now.began != p.began)
}

// sight is what the kernel shows of a process.
type sight struct {
	began  uint64
	parent int
}

// seen looks at a process; false if it has ended. An error says that the kernel did not tell, as when the agent has too many files open.
func seen(pid int) (now sight, alive bool, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return sight{}, false, nil
	}
	if err != nil {
		return sight{}, false, err
	}
	// The second field is the program's name in brackets, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return sight{}, false, fmt.Errorf("/proc/%d/stat is %q", pid, text)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return sight{}, false, nil
	}
	if now.parent, err = strconv.Atoi(fields[1]); err != nil {
		return sight{}, false, err
	}
	now.began, err = strconv.ParseUint(fields[19], 10, 64)
	return now, err == nil, err
}

// family identifies a container's first process and the server that started it, as far as they live.
func family(pid int) (first, server process) {
	now, alive, err := seen(pid)
	if !alive || err != nil {
		return process{pid: pid}, process{}
	}
	if its, alive, err := seen(now.parent); alive && err == nil {
		server = process{now.parent, its.began}
	}
	return process{pid, now.began}, server
}

// executes tells whether the first process is certain to be the container's program, though nobody heard that it was let go: it is no
// copy of the server any more. Of containers of runc's shim that is not known.
func (m marker) executes(record containers.Container) bool {
	return m.process.pid != 0 && spares(record) &&
		waiting.Look(m.process.pid, programOf(record.Runtime.Name)) == waiting.Executes &&
		m.process.lives() // and was not another's PID when it was looked at
}

// complete writes what a marker lacks of a container that runs: it was let go by an agent that did not hear of it, or by an
// earlier version. The server stays the one that started it, which may be gone.
func (r *Runtime) complete(id string, m marker, pid int) {
	if m.letGo && m.process.pid != 0 && m.server.pid != 0 {
		return
	}
	first, server := family(pid)
	if first.began == 0 {
		return
	}
	if m.process == first && m.server.pid != 0 {
		server = m.server
	}
	_ = r.mark(id, marker{at: m.at, process: first, server: server, letGo: true}) // the next look tries again
}
