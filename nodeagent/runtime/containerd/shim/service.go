//go:build linux && cgo

package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// service is containerd's task API. Every task has a connection of its own; requests name the container.
type service struct {
	call    Call
	events  *publisher
	filters filters

	mu         sync.Mutex
	containers map[string]*container
	// empty is since when there is no container and nobody asked for one.
	empty time.Time
}

var empty = &emptypb.Empty{}

func newService(call Call, events *publisher) *service {
	return &service{call: call, events: events, containers: map[string]*container{}, empty: time.Now()}
}

// fail gives an error its class on the wire.
func fail(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToGRPC(err)
}

// get finds a container that was made.
func (s *service) get(id string) (*container, error) {
	s.mu.Lock()
	c := s.containers[id]
	s.mu.Unlock()
	if c != nil {
		select {
		case <-c.made:
			if c.err == nil {
				return c, nil
			}
		default: // it is being made; for the caller it is not there yet
		}
	}
	return nil, fail(fmt.Errorf("container %q was not created: %w", id, errdefs.ErrNotFound))
}

// task finds a container's process.
func (s *service) task(id, exec string) (*container, *task, error) {
	c, err := s.get(id)
	if err != nil || exec == "" {
		if c == nil {
			return nil, nil, err
		}
		return c, c.init, nil
	}
	t, ok := c.exec(exec)
	if !ok || t == nil {
		return nil, nil, fail(fmt.Errorf("process %q of container %q: %w", exec, id, errdefs.ErrNotFound))
	}
	return c, t, nil
}

// Create implements the task API. A caller that is gone when the container is made does not know of it; then it is taken back.
func (s *service) Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	if r.Checkpoint != "" {
		return nil, fail(fmt.Errorf("checkpoints: %w", errdefs.ErrNotImplemented))
	}
	c := &container{
		id: r.ID, bundle: r.Bundle, dir: filepath.Join(stateRoot(s.call.Run), r.ID), made: make(chan struct{}), starting: make(chan struct{}, 1),
		init:  newTask(r.ID, stdio{r.Stdin, r.Stdout, r.Stderr, r.Terminal}),
		execs: map[string]*task{},
	}
	s.mu.Lock()
	_, exists := s.containers[r.ID]
	if !exists {
		s.containers[r.ID] = c
	}
	s.mu.Unlock()
	if exists {
		return nil, fail(fmt.Errorf("container %q: %w", r.ID, errdefs.ErrAlreadyExists))
	}
	defer close(c.made)
	c.err = c.explain(c.create(s, r))
	if c.init.look().pid > 0 {
		go s.followInit(c)
	}
	if c.err == nil {
		c.err = s.wanted(ctx, c)
	}
	if c.err != nil {
		if err := c.destroy(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "container %s: %v; taking it back: %v\n", c.id, c.err, err)
		}
		s.forget(c)
		return nil, fail(c.err)
	}
	s.events.send(&events.TaskCreate{
		ContainerID: r.ID, Bundle: r.Bundle, Rootfs: r.Rootfs, Pid: uint32(c.init.pid),
		IO: &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	})
	return &tasks.CreateTaskResponse{Pid: uint32(c.init.pid)}, nil
}

// wanted tells whether somebody still waits for a container.
func (s *service) wanted(ctx context.Context, c *container) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the caller gave up: %w", err)
	}
	if _, err := os.Stat(c.bundle); err != nil {
		return fmt.Errorf("the caller gave up: %w", err)
	}
	return nil
}

func (s *service) forget(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[c.id] == c {
		delete(s.containers, c.id)
	}
	s.empty = time.Now()
}

// followInit waits for a container's end and tells it. Whatever else runs in the container ends with it.
func (s *service) followInit(c *container) {
	c.init.follow(c.endRest, func() {
		end := seen{pid: c.init.pid, code: c.init.code, at: c.init.at}
		c.recordExit(end)
		if end.code != 0 && cgroup.OOMKills(c.home.path) > 0 {
			s.events.send(&events.TaskOOM{ContainerID: c.id})
		}
	})
	end := c.init.look()
	s.events.send(&events.TaskExit{
		ContainerID: c.id, ID: c.id, Pid: uint32(end.pid), ExitStatus: uint32(end.code), ExitedAt: timestamppb.New(end.at),
	})
}

// Start implements the task API.
func (s *service) Start(ctx context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error) {
	c, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if r.ExecID != "" {
		if err := s.startExec(ctx, c, t); err != nil {
			return nil, fail(err)
		}
		return &tasks.StartResponse{Pid: uint32(t.look().pid)}, nil
	}
	if t.look().started {
		return nil, fail(fmt.Errorf("container %q was started: %w", r.ID, errdefs.ErrFailedPrecondition))
	}
	if err := c.lib.Exec(); err != nil {
		return nil, fail(fmt.Errorf("start container %q: %w", r.ID, c.explain(err)))
	}
	t.letGo()
	s.events.send(&events.TaskStart{ContainerID: r.ID, Pid: uint32(t.pid)})
	return &tasks.StartResponse{Pid: uint32(t.pid)}, nil
}

// State implements the task API.
func (s *service) State(_ context.Context, r *tasks.StateRequest) (*tasks.StateResponse, error) {
	c, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	now := t.look()
	out := &tasks.StateResponse{
		ID: t.id, ExecID: r.ExecID, Bundle: c.bundle, Pid: uint32(now.pid), Status: c.status(now), Stdin: t.stdio.stdin,
		Stdout: t.stdio.stdout, Stderr: t.stdio.stderr, Terminal: t.stdio.terminal, ExitStatus: uint32(now.code),
	}
	if now.ended {
		out.ExitedAt = timestamppb.New(now.at)
	}
	return out, nil
}

func (c *container) status(now seen) tasktypes.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case now.ended:
		return tasktypes.Status_STOPPED
	case c.paused:
		return tasktypes.Status_PAUSED
	case now.started:
		return tasktypes.Status_RUNNING
	default:
		return tasktypes.Status_CREATED
	}
}

// Delete implements the task API. A container that is being created is waited for; one that runs is not deleted.
func (s *service) Delete(ctx context.Context, r *tasks.DeleteRequest) (*tasks.DeleteResponse, error) {
	if r.ExecID != "" {
		return s.deleteExec(r)
	}
	s.mu.Lock()
	c := s.containers[r.ID]
	s.mu.Unlock()
	if c != nil {
		select {
		case <-c.made:
		case <-ctx.Done():
			return nil, fail(ctx.Err())
		}
	}
	c, err := s.get(r.ID)
	if err != nil {
		return nil, err
	}
	if now := c.init.look(); now.started && !now.ended {
		return nil, fail(fmt.Errorf("container %q runs: %w", r.ID, errdefs.ErrFailedPrecondition))
	}
	if err := c.destroy(ctx); err != nil {
		return nil, fail(err)
	}
	s.forget(c)
	end := c.init.look()
	at := timestamppb.New(end.at)
	s.events.send(&events.TaskDelete{ContainerID: c.id, Pid: uint32(end.pid), ExitStatus: uint32(end.code), ExitedAt: at})
	return &tasks.DeleteResponse{Pid: uint32(end.pid), ExitStatus: uint32(end.code), ExitedAt: at}, nil
}

// Kill implements the task API.
func (s *service) Kill(_ context.Context, r *tasks.KillRequest) (*emptypb.Empty, error) {
	c, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	signal := syscall.Signal(r.Signal)
	if r.All && r.ExecID == "" {
		for _, pid := range cgroup.PIDs(c.home.path) {
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return nil, fail(err)
			}
		}
		return empty, nil
	}
	if err := t.signal(signal); err != nil {
		return nil, fail(fmt.Errorf("signal %d to %q: %w", r.Signal, t.id, err))
	}
	if signal == syscall.SIGKILL {
		_ = c.home.freeze(false) // a frozen process does not die
	}
	return empty, nil
}

// Wait implements the task API.
func (s *service) Wait(ctx context.Context, r *tasks.WaitRequest) (*tasks.WaitResponse, error) {
	_, t, err := s.task(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if err := t.wait(ctx); err != nil {
		return nil, fail(err)
	}
	end := t.look()
	return &tasks.WaitResponse{ExitStatus: uint32(end.code), ExitedAt: timestamppb.New(end.at)}, nil
}

// Connect implements the task API.
func (s *service) Connect(_ context.Context, r *tasks.ConnectRequest) (*tasks.ConnectResponse, error) {
	out := &tasks.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: "v2"}
	if c, err := s.get(r.ID); err == nil {
		out.TaskPid = uint32(c.init.look().pid)
	}
	return out, nil
}

// Shutdown implements the task API. It is meant for a shim of one container; this server ends when nobody needs it.
func (s *service) Shutdown(context.Context, *tasks.ShutdownRequest) (*emptypb.Empty, error) {
	return empty, nil
}
