package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string, signal runtime.Signal) error {
	record, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return fmt.Errorf("container %q: %w", id, native(err))
	}
	if signal == runtime.StopSignal {
		signal = stopSignalOf(record)
	}
	switch c, err := r.observe(ctx, record); {
	case err != nil:
		return fmt.Errorf("container %q: %w", id, err)
	case c.State == runtime.StateUnanswered:
		return fmt.Errorf("container %q: its shim does not answer: %w", id, errdefs.ErrUnavailable)
	case c.State != runtime.StateRunning:
		return fmt.Errorf("container %q does not run: %w", id, errdefs.ErrNotFound)
	default:
		if err := r.signal(ctx, id, c.PID, signal); err != nil {
			return fmt.Errorf("container %q: %w", id, err)
		}
	}
	return nil
}

// signal sends a signal to a container's first process: directly, which saves a run of runc, where it is certain whose the
// PID is, else through containerd.
func (r *Runtime) signal(ctx context.Context, id string, pid int, signal runtime.Signal) error {
	if sent, err := signalDirectly(id, pid, signal); sent || err != nil {
		return err
	}
	_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(signal)})
	return native(err)
}

func signalDirectly(id string, pid int, signal runtime.Signal) (sent bool, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // an old kernel, or it is gone and containerd knows better
	}
	defer unix.Close(fd)
	// The handle is of the process that has the PID now; its cgroup tells that it is the container's.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), "/"+id+"\n") {
		return false, nil
	}
	err = unix.PidfdSendSignal(fd, unix.Signal(signal), nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("its process has ended: %w", errdefs.ErrNotFound)
	}
	return err == nil, err
}

// Remove implements runtime.Runtime. Each step also works where an earlier Remove, a shim or a reboot took part of the
// container away; the record goes last, so that what is not complete is still listed.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	record, err := r.client.ContainerService().Get(ctx, id)
	if err = native(err); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	known := err == nil
	if known {
		forgotten, err := r.removeTask(ctx, id)
		if err != nil {
			return fmt.Errorf("end the process of %q: %w", id, err)
		}
		if path := peek(record).Linux.CgroupsPath; path != "" {
			if err := cgroup.Remove(ctx, path); err != nil {
				return fmt.Errorf("cgroup of %q: %w", id, err)
			}
		}
		if err := r.clearRemoved(ctx, record, forgotten); err != nil {
			return fmt.Errorf("what a server left of %q: %w", id, err)
		}
	}
	if err := ignore(native(r.snaps.Remove(ctx, id))); err != nil {
		return fmt.Errorf("file system of %q: %w", id, err)
	}
	if err := r.removeDir(id); err != nil {
		return err
	}
	if known {
		if err := ignore(native(r.client.ContainerService().Delete(ctx, id))); err != nil {
			return fmt.Errorf("record of %q: %w", id, err)
		}
	}
	r.displaced(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.started, id)
	delete(r.silent, groupOf(id))
	delete(r.ooms, id)
	return nil
}

// removeTask ends a task if it runs and deletes it; false if containerd knew of none. It looks first: what is refused, containerd logs
// as an error. One that is not found is deleted as well: it is a shim's word, which may have deleted it when nobody waited for the answer
// any more, and containerd then still has its bundle.
func (r *Runtime) removeTask(ctx context.Context, id string) (known bool, err error) {
	service := r.client.TaskService()
	task, err := service.Get(ctx, &tasks.GetRequest{ContainerID: id})
	err = native(err)
	switch m := r.marked(id); {
	case err == nil && state(task.Process) == runtime.StateRunning:
		if task.Process.Status == tasktypes.Status_PAUSED { // frozen by somebody, and with cgroup v1 it would not even die
			_, _ = service.Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: id})
		}
		if err := r.endTask(ctx, id, int(task.Process.Pid)); err != nil {
			return false, err
		}
	case err != nil && !errdefs.IsNotFound(err) && m.runs(): // its shim does not answer; what it takes to end it needs no shim
		if err := ignore(r.signal(ctx, id, m.process.pid, runtime.SIGKILL)); err != nil {
			return false, err
		}
	}
	return r.forget(ctx, id) // also when its shim does not answer any more
}

// endTask kills a container's first process, with which all others of its PID namespace die, and waits for its end.
func (r *Runtime) endTask(ctx context.Context, id string, pid int) error {
	if err := ignore(r.signal(ctx, id, pid, runtime.SIGKILL)); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := r.client.TaskService().Wait(wait, &tasks.WaitRequest{ContainerID: id})
	if wait.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("it does not die of SIGKILL: %w", errdefs.ErrUnavailable)
	}
	return ignore(native(err))
}
