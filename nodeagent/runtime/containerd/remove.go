package containerd

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// Kill implements runtime.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string, signal runtime.Signal) error {
	_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(signal)})
	if err = native(err); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	return nil
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
		if err := r.removeTask(ctx, id); err != nil {
			return fmt.Errorf("end the process of %q: %w", id, err)
		}
		if path := peek(record).Linux.CgroupsPath; path != "" {
			if err := cgroup.Remove(ctx, path); err != nil {
				return fmt.Errorf("cgroup of %q: %w", id, err)
			}
		}
	}
	if err := ignore(native(r.snaps.Remove(ctx, id))); err != nil {
		return fmt.Errorf("file system of %q: %w", id, err)
	}
	if err := os.RemoveAll(r.dir(id)); err != nil {
		return err
	}
	if known {
		if err := ignore(native(r.client.ContainerService().Delete(ctx, id))); err != nil {
			return fmt.Errorf("record of %q: %w", id, err)
		}
	}
	r.give(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.started, id)
	delete(r.ooms, id)
	return nil
}

// removeTask ends a task if it runs and deletes it. Between two calls it may exit by itself, so a refusal to delete counts
// only when the task had stopped before.
func (r *Runtime) removeTask(ctx context.Context, id string) error {
	service := r.client.TaskService()
	for stopped := false; ; {
		_, err := service.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		if err = native(err); err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if stopped {
			return err
		}
		task, getErr := service.Get(ctx, &tasks.GetRequest{ContainerID: id})
		if getErr != nil {
			return ignore(native(getErr))
		}
		if state(task.Process) == runtime.StateRunning {
			if err := r.endTask(ctx, id); err != nil {
				return err
			}
		}
		stopped = true
	}
}

// endTask kills all of a container's processes and waits until they are dead.
func (r *Runtime) endTask(ctx context.Context, id string) error {
	service := r.client.TaskService()
	_, err := service.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(runtime.SIGKILL), All: true})
	if err := ignore(native(err)); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = service.Wait(wait, &tasks.WaitRequest{ContainerID: id})
	if wait.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("it does not die of SIGKILL: %w", errdefs.ErrUnavailable)
	}
	return ignore(native(err))
}
