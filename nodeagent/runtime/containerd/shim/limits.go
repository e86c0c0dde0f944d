//go:build linux && cgo

package shim

import (
	"context"
	"fmt"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/containerd/api/events"
	tasks "github.com/containerd/containerd/api/runtime/task/v2"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/emptypb"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// Pids implements the task API. A container that ended has none to tell, which is an error: containerd throws a task away that
// it finds empty when it starts.
func (s *service) Pids(_ context.Context, r *tasks.PidsRequest) (*tasks.PidsResponse, error) {
	c, err := s.get(r.ID)
	if err != nil {
		return nil, err
	}
	if c.init.hasEnded() {
		return nil, fail(fmt.Errorf("container %q has ended: %w", r.ID, errdefs.ErrFailedPrecondition))
	}
	out := &tasks.PidsResponse{}
	for _, pid := range cgroup.PIDs(c.home.path) {
		out.Processes = append(out.Processes, &tasktypes.ProcessInfo{Pid: uint32(pid)})
	}
	return out, nil
}

// Pause implements the task API.
func (s *service) Pause(_ context.Context, r *tasks.PauseRequest) (*emptypb.Empty, error) {
	return s.freeze(r.ID, true, &events.TaskPaused{ContainerID: r.ID})
}

// Resume implements the task API.
func (s *service) Resume(_ context.Context, r *tasks.ResumeRequest) (*emptypb.Empty, error) {
	return s.freeze(r.ID, false, &events.TaskResumed{ContainerID: r.ID})
}

func (s *service) freeze(id string, frozen bool, event any) (*emptypb.Empty, error) {
	c, err := s.get(id)
	if err != nil {
		return nil, err
	}
	switch {
	case c.home.v1 != nil:
		err = c.home.freeze(frozen)
	case frozen:
		err = c.lib.Pause()
	default:
		err = c.lib.Resume()
	}
	if err != nil {
		return nil, fail(err)
	}
	c.mu.Lock()
	c.paused = frozen
	c.mu.Unlock()
	s.events.send(event)
	return empty, nil
}

// Update implements the task API: other limits for a container that runs.
func (s *service) Update(_ context.Context, r *tasks.UpdateTaskRequest) (*emptypb.Empty, error) {
	c, err := s.get(r.ID)
	if err != nil {
		return nil, err
	}
	return empty, fail(c.update(r.Resources.GetValue()))
}

// Stats implements the task API.
func (s *service) Stats(_ context.Context, r *tasks.StatsRequest) (*tasks.StatsResponse, error) {
	c, err := s.get(r.ID)
	if err != nil {
		return nil, err
	}
	var stats any
	if cgroups.Mode() == cgroups.Unified {
		group, loadErr := cgroup2.Load(c.home.path)
		if loadErr != nil {
			return nil, fail(loadErr)
		}
		stats, err = group.Stat()
	} else {
		group, loadErr := cgroup1.Load(cgroup1.StaticPath(c.home.path))
		if loadErr != nil {
			return nil, fail(loadErr)
		}
		stats, err = group.Stat(cgroup1.IgnoreNotExist)
	}
	if err != nil {
		return nil, fail(err)
	}
	data, err := typeurl.MarshalAnyToProto(stats)
	if err != nil {
		return nil, fail(err)
	}
	return &tasks.StatsResponse{Stats: data}, nil
}

// Checkpoint implements the task API.
func (s *service) Checkpoint(context.Context, *tasks.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return nil, fail(fmt.Errorf("checkpoints: %w", errdefs.ErrNotImplemented))
}
