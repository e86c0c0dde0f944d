package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// process is the identity of a pause: a PID alone may be anybody's after a while.
type process struct {
	PID int
	// StartTime is field 22 of /proc/PID/stat, clock ticks since the boot named here.
	StartTime uint64
	BootID    string
	// Sandbox identifies the namespaces that it holds, if those are not of its own making.
	Sandbox string `json:",omitempty"`
	// Shape of the sandbox.
	Shape
	// Ready says that the sandbox was made to its end with this process.
	Ready bool
}

// sandbox is the identity of the namespaces: that of the process they were made with.
func (p process) sandbox() string {
	if p.Sandbox != "" || p.PID == 0 {
		return p.Sandbox
	}
	return fmt.Sprintf("%.8s-%d-%d", p.BootID, p.StartTime, p.PID)
}

// Records of a sandbox's pause. That of one in the machine's network is not seen by an agent of an earlier version, which would take that
// network for the MiniPod's own; it makes another pause.
const ownRecord, hostRecord = "pause.json", "host.json"

func (s Shape) record() string {
	if s.HostNetwork {
		return hostRecord
	}
	return ownRecord
}

// note writes the record, and takes away that of a sandbox in another network.
func (p process) note(dir string) error {
	if err := writeJSON(filepath.Join(dir, p.record()), p); err != nil {
		return err
	}
	other := Shape{HostNetwork: !p.HostNetwork}.record()
	if err := os.Remove(filepath.Join(dir, other)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reshape ends a pause that was made in another shape, by an agent that did not know this one. What it holds is kept where the new one can
// join it.
func (m *manager) reshape(dir string, shape Shape) error {
	for range 2 { // there may be two records
		record, alive := m.process(dir)
		if record.PID == 0 || record.Shape == shape {
			return nil
		}
		if alive {
			if err := m.kill(record); err != nil {
				return err
			}
		}
		if record.HostNetwork == shape.HostNetwork {
			return nil
		}
		if err := unpin(dir); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, record.record())); err != nil {
			return err
		}
	}
	return nil
}

// process reads a sandbox's record of its pause, and whether that very process still lives.
func (m *manager) process(dir string) (process, bool) {
	var record process
	err := readJSON(filepath.Join(dir, ownRecord), &record)
	if errors.Is(err, fs.ErrNotExist) {
		err = readJSON(filepath.Join(dir, hostRecord), &record)
	}
	if err != nil || record.PID <= 0 || record.BootID != m.bootID {
		return process{}, false
	}
	start, alive := startTime(record.PID)
	return record, alive && start == record.StartTime
}

// startTime of a process; false if there is none or it is a zombie.
func startTime(pid int) (uint64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may contain anything.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return start, err == nil
}

// kill ends a pause by a handle that cannot come to mean another process, and waits until it is dead.
func (m *manager) kill(record process) error {
	fd, err := unix.PidfdOpen(record.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if start, alive := startTime(record.PID); !alive || start != record.StartTime {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("process %d does not die of SIGKILL", record.PID)
		default:
			return nil
		}
	}
}

// startPause starts a pause in new namespaces, or in the pinned ones if they are all there, and waits until it is ready.
func (m *manager) startPause(dir string, spec Spec) (record process, err error) {
	joins := len(missing(dir, spec.own())) == 0
	if joins {
		err = sharedPIDs.remove(dir) // they ended with the pause before
	} else {
		err = unpin(dir)
	}
	if err != nil {
		return process{}, err
	}
	before, _ := m.process(dir)
	child, err := m.clone(dir, spec, joins)
	if err != nil {
		return process{}, err
	}
	if joins {
		child.record.Sandbox = before.sandbox()
	}
	defer child.close() // if it was not told to go, it ends by this
	defer func() {
		if err != nil && !errors.Is(err, errStopped) {
			_ = syscall.Kill(child.record.PID, syscall.SIGKILL) // still our child: the PID is its own
		}
	}()
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"clone", func() error { return nil }},
		{"record", func() error { return child.record.note(dir) }},
		{"pins", func() error { return pinAll(dir, spec.Shape, child.record.PID, m.after) }},
		{"go", child.begin},
		{"ready", func() error { child.record.Ready = true; return child.record.note(dir) }},
	} {
		if err := step.run(); err != nil {
			return process{}, fmt.Errorf("%s: %w", step.name, err)
		}
		if err := m.after(step.name); err != nil {
			return process{}, err
		}
	}
	return child.record, nil
}

// errStopped is what tests return from after, to leave everything as it is.
var errStopped = errors.New("stopped")

// child is a pause that waits to be told to go.
type child struct {
	record   process
	to, from *os.File
}

// clone starts a pause, in the pauses' cgroup from its birth.
func (m *manager) clone(dir string, spec Spec, joins bool) (*child, error) {
	stdin, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	from, stdout, err := os.Pipe()
	if err != nil {
		to.Close()
		return nil, err
	}
	defer stdout.Close()
	c := &child{to: to, from: from}
	program := m.pause
	if spec.SharePIDs {
		copied, err := m.copied()
		if err != nil {
			c.close()
			return nil, err
		}
		program = fmt.Sprintf("/proc/self/fd/%d", copied.Fd())
	}
	args := []string{"pause", "sandbox", spec.Hostname}
	if spec.HostNetwork {
		args = []string{"pause", "hold"}
	}
	attr := &syscall.SysProcAttr{Setsid: true, Cloneflags: spec.cloned(joins)}
	if joins {
		for _, p := range spec.own() {
			args = append(args, filepath.Join(dir, p.at))
		}
	}
	c.record.PID, err = m.birth(pauseCgroup(spec.CgroupPath), program, args, &syscall.ProcAttr{
		Dir: "/", Files: []uintptr{stdin.Fd(), stdout.Fd()}, Sys: attr,
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("start %s: %w", m.pause, err)
	}
	start, alive := startTime(c.record.PID)
	if !alive {
		c.close()
		return nil, fmt.Errorf("the pause process ended at once")
	}
	c.record.StartTime, c.record.BootID, c.record.Shape = start, m.bootID, spec.Shape
	protect(c.record.PID)
	return c, nil
}

// cloned are the namespaces that a pause is born into, of which it joins none later.
func (s Shape) cloned(joins bool) (flags uintptr) {
	if s.SharePIDs {
		flags |= syscall.CLONE_NEWPID
	}
	if joins {
		return flags
	}
	if !s.HostNetwork {
		flags |= syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS
	}
	if !s.HostIPC {
		flags |= syscall.CLONE_NEWIPC
	}
	return flags
}

// birth starts a process in a cgroup, without the wait that moving it there would cost.
func (m *manager) birth(group, program string, args []string, attr *syscall.ProcAttr) (pid int, err error) {
	unified, err := cgroup.Open(group)
	if err != nil {
		return 0, err
	}
	if unified != nil {
		defer unified.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(unified.Fd())
	}
	err = cgroup.Inside(group, func() (err error) {
		pid, err = m.reaper.start(program, args, attr)
		return err
	})
	if err != nil && attr.Sys.UseCgroupFD { // a kernel before 5.7, or a filter that does not let it pass
		attr.Sys.UseCgroupFD = false
		if pid, err = m.reaper.start(program, args, attr); err == nil {
			err = cgroup.Enter(group, pid)
		}
	}
	return pid, err
}

// protect makes the pause a late victim of memory shortage, as far as the agent may.
func protect(pid int) {
	// Without CAP_SYS_RESOURCE lowering fails; the pause is then as likely a victim as the agent, and so small that it is late.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("-998"), 0o644)
}

// begin lets the pause configure its namespaces and waits until it has.
func (c *child) begin() error {
	if _, err := c.to.Write([]byte("g")); err != nil {
		return err
	}
	if err := c.from.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.from.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the pause process did not get ready (its exit code tells the step, see cmd/pause): %w", err)
	}
	return nil
}

func (c *child) close() {
	c.to.Close()
	c.from.Close()
}

// reaper waits for the pauses that this process started, without a thread for each.
type reaper struct {
	mu       sync.Mutex
	children map[int]struct{}
}

func newReaper() *reaper {
	r := &reaper{children: map[int]struct{}{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go func() {
		for range died {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) start(path string, args []string, attr *syscall.ProcAttr) (int, error) {
	r.mu.Lock() // so that it is known before its end can be told
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, args, attr)
	if err == nil {
		r.children[pid] = struct{}{}
	}
	return pid, err
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pid := range r.children {
		if reaped, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); reaped == pid || errors.Is(err, syscall.ECHILD) {
			delete(r.children, pid)
		}
	}
}
