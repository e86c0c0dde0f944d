//go:build linux && cgo

package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Exec implements the task API: it notes a process, which Start starts.
func (s *service) Exec(_ context.Context, r *tasks.ExecProcessRequest) (*emptypb.Empty, error) {
	c, err := s.get(r.ID)
	if err != nil {
		return nil, err
	}
	spec := &specs.Process{}
	if err := json.Unmarshal(r.Spec.GetValue(), spec); err != nil {
		return nil, fail(fmt.Errorf("process %q: %w: %w", r.ExecID, err, errdefs.ErrInvalidArgument))
	}
	spec.Terminal = r.Terminal
	t := newTask(r.ExecID, stdio{r.Stdin, r.Stdout, r.Stderr, r.Terminal})
	if t.process, err = process(spec); err != nil {
		return nil, fail(fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument))
	}
	c.mu.Lock()
	_, exists := c.execs[r.ExecID]
	if !exists {
		c.execs[r.ExecID] = t
	}
	c.mu.Unlock()
	if exists {
		return nil, fail(fmt.Errorf("process %q: %w", r.ExecID, errdefs.ErrAlreadyExists))
	}
	s.events.send(&events.TaskExecAdded{ContainerID: r.ID, ExecID: r.ExecID})
	return empty, nil
}

// startExec starts a noted process. It is told as started before it is told as ended.
//
// The container's own processes can hold up the start of a command: they may stop what they see of it. Those who come after wait
// here, with nothing open, as long as their callers do.
func (s *service) startExec(ctx context.Context, c *container, t *task) error {
	select {
	case c.starting <- struct{}{}:
		defer func() { <-c.starting }()
	case <-ctx.Done():
		return fmt.Errorf("another process is being started in container %q: %w", c.id, ctx.Err())
	}
	if now := c.init.look(); !now.started || now.ended {
		return fmt.Errorf("container %q does not run: %w", c.id, errdefs.ErrFailedPrecondition)
	}
	c.mu.Lock()
	paused := c.paused
	c.mu.Unlock()
	if paused {
		return fmt.Errorf("container %q is paused: %w", c.id, errdefs.ErrFailedPrecondition) // the process would stand still half-made
	}
	if t.look().started {
		return fmt.Errorf("process %q was started: %w", t.id, errdefs.ErrFailedPrecondition)
	}
	if err := c.tellSeccomp(); err != nil {
		return err
	}
	t.letGo()
	enter := func(start func() error) error { return c.home.beside(t.process, c.filter.given(), start) }
	if err := t.begin(c.lib, enter, s.call.Namespace); err != nil {
		if t.look().pid > 0 {
			_ = t.signal(syscall.SIGKILL)
			go t.follow(func() {}, func() {})
		} else {
			t.mu.Lock()
			t.code = 255
			t.mu.Unlock()
			close(t.ended)
			s.reap(c)
		}
		return fmt.Errorf("start process %q in container %q: %w", t.id, c.id, err)
	}
	s.events.send(&events.TaskExecStarted{ContainerID: c.id, ExecID: t.id, Pid: uint32(t.look().pid)})
	go func() {
		t.follow(func() {}, func() {})
		end := t.look()
		s.events.send(&events.TaskExit{
			ContainerID: c.id, ID: t.id, Pid: uint32(end.pid), ExitStatus: uint32(end.code), ExitedAt: timestamppb.New(end.at),
		})
	}()
	return nil
}

func (s *service) deleteExec(r *tasks.DeleteRequest) (*tasks.DeleteResponse, error) {
	c, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	end := t.look()
	if end.started && !end.ended {
		return nil, fail(fmt.Errorf("process %q runs: %w", r.ExecID, errdefs.ErrFailedPrecondition))
	}
	if t.streams != nil {
		t.streams.close()
	}
	c.mu.Lock()
	delete(c.execs, r.ExecID)
	c.mu.Unlock()
	return &tasks.DeleteResponse{Pid: uint32(end.pid), ExitStatus: uint32(end.code), ExitedAt: timestamppb.New(end.at)}, nil
}

// ResizePty implements the task API.
func (s *service) ResizePty(_ context.Context, r *tasks.ResizePtyRequest) (*emptypb.Empty, error) {
	_, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if t.streams == nil {
		return empty, nil
	}
	return empty, fail(t.streams.resize(r.Width, r.Height))
}

// CloseIO implements the task API.
func (s *service) CloseIO(_ context.Context, r *tasks.CloseIORequest) (*emptypb.Empty, error) {
	_, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if r.Stdin && t.streams != nil {
		t.streams.closeStdin()
	}
	return empty, nil
}
