package containerd

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// orphans are containers that outlived the server that started them. containerd knows nothing of them any more, and no parent is told
// how they end; so the agent holds a handle of each one's first process, which the kernel makes readable at its end. The kernel keeps
// the exit code for whoever held a handle then (since 6.15); where it does not, the container ends as unknown.
type orphans struct {
	handles map[string]*os.File
	heard   map[chan runtime.Event]struct{}
	closed  bool
}

// reaped is how long the exit code of an ended process is waited for: its new parent must have collected it.
const reaped = 2 * time.Second

// killed is the exit code of what SIGKILL ended.
const killed = 128 + int(unix.SIGKILL)

// hearEnds delivers the ends of orphans until it is told to stop. Who does not read misses some, which the next look shows.
func (r *Runtime) hearEnds() (<-chan runtime.Event, func()) {
	out := make(chan runtime.Event, 256)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.orphans.heard == nil {
		r.orphans.heard = map[chan runtime.Event]struct{}{}
	}
	r.orphans.heard[out] = struct{}{}
	return out, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.orphans.heard, out)
	}
}

// watch waits for the end of an orphan, once for each.
func (r *Runtime) watch(id string, m marker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.orphans.closed || r.orphans.handles[id] != nil {
		return
	}
	fd, err := unix.PidfdOpen(m.process.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return // it has ended, which the next look shows; or the kernel is older than 5.10, and only looks show it
	}
	handle := os.NewFile(uintptr(fd), "process")
	if !m.process.lives() { // before the handle was there
		_ = handle.Close()
		return
	}
	if r.orphans.handles == nil {
		r.orphans.handles = map[string]*os.File{}
	}
	r.orphans.handles[id] = handle
	serverFailures.WithLabelValues("survived").Inc()
	go r.awaitOrphan(id, m, handle)
}

// awaitOrphan keeps how an orphan ended, and tells that it did.
func (r *Runtime) awaitOrphan(id string, m marker, handle *os.File) {
	code, known, err := exitOf(handle)
	finished := time.Now()
	r.mu.Lock()
	delete(r.orphans.handles, id)
	r.mu.Unlock()
	_ = handle.Close()
	if err != nil {
		return // let be
	}
	if known && r.marked(id).process == m.process { // and it was not removed meanwhile
		stdio.Flush(r.socket(id))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if record, err := r.client.ContainerService().Get(ctx, id); err == nil && record.Labels[labelExit] == "" {
			endRest(record, m)
			oom := r.oomKilled(record, code)
			r.keep(ctx, id, exit{code: code, started: startOf(m, finished, finished, uptime()), finished: finished, oom: oom, lost: code == killed && !oom && !spares(record)})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for hears := range r.orphans.heard {
		select {
		case hears <- runtime.Event{Type: runtime.EventExited, ContainerID: id, Time: finished}:
		default:
		}
	}
}

// exitOf waits for a process's end and tells its code, if the kernel does. An error if the handle is closed.
func exitOf(handle *os.File) (code int, known bool, err error) {
	raw, err := handle.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	ended := func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n > 0
	}
	if err := raw.Read(ended); err != nil {
		return 0, false, err
	}
	deadline := time.Now().Add(reaped)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		var asked error
		if err := raw.Control(func(fd uintptr) { asked = unix.IoctlPidfdInfo(int(fd), &info) }); err != nil {
			return 0, false, err
		}
		if asked == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return codeOf(syscall.WaitStatus(info.Exit_code)), true, nil
		}
		if time.Now().After(deadline) {
			return 0, false, nil
		}
		<-time.After(pause)
	}
}

// codeOf is a shell's view of an end: 128 and the signal's number for one that was killed.
func codeOf(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// spares tells whether a container is left alone when its server fails. With runc's shim it is not: containerd has it killed.
func spares(record containers.Container) bool {
	return strings.HasSuffix(record.Runtime.Name, shimName)
}

// letOrphansBe stops waiting. They run on.
func (r *Runtime) letOrphansBe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orphans.closed = true
	for _, handle := range r.orphans.handles {
		_ = handle.Close()
	}
}
