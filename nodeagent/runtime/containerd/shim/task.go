//go:build linux && cgo

package shim

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runc/libcontainer"
)

// task is one process that the server started: a container's first, or one that was executed in it.
type task struct {
	id      string
	stdio   stdio
	streams *streams
	process *libcontainer.Process

	mu      sync.Mutex
	pid     int
	started bool // it was let go
	ended   chan struct{}
	code    int
	at      time.Time
}

func newTask(id string, io stdio) *task {
	return &task{id: id, stdio: io, ended: make(chan struct{})}
}

// begin starts the process in a container. The init waits to be let go; other processes run. If there is a process after it, be it that something
// else failed, the caller has to follow it, for nobody else collects it. enter runs what starts it, and sees to its cgroup.
func (t *task) begin(c *libcontainer.Container, enter func(func() error) error, namespace string) error {
	var err error
	if t.streams, err = open(namespace, c.ID(), t.stdio, t.process); err != nil {
		return err
	}
	if err := enter(func() error { return c.Start(t.process) }); err != nil {
		t.streams.close()
		return err
	}
	pid, err := t.process.Pid()
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.pid = pid
	t.mu.Unlock()
	if err := t.streams.started(); err != nil {
		t.streams.close()
		return err
	}
	return nil
}

// follow waits for the process's end and calls first, passes its output on, and calls told before anybody who waits for it goes on.
func (t *task) follow(first, told func()) {
	state, _ := t.process.Wait()
	code := 255
	if state != nil {
		if status, ok := state.Sys().(syscall.WaitStatus); ok {
			code = exitCode(status)
		}
	}
	t.mu.Lock()
	t.code, t.at = code, time.Now()
	t.mu.Unlock()
	first()
	t.streams.drain()
	told()
	close(t.ended)
}

// exitCode is a shell's view of an end: 128 and the signal's number for one that was killed.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func (t *task) signal(s syscall.Signal) error {
	select {
	case <-t.ended:
		return errdefs.ErrNotFound
	default:
	}
	err := t.process.Signal(s)
	if err == os.ErrProcessDone { //nolint:errorlint // libcontainer passes it on as it is
		return errdefs.ErrNotFound
	}
	return err
}

func (t *task) wait(ctx context.Context) error {
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *task) hasEnded() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

// seen is a task at one moment.
type seen struct {
	pid, code int
	at        time.Time
	started   bool
	ended     bool
}

func (t *task) look() seen {
	ended := t.hasEnded()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := seen{pid: t.pid, started: t.started, ended: ended}
	if ended {
		out.code, out.at = t.code, t.at
	}
	return out
}

func (t *task) letGo() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started = true
}
