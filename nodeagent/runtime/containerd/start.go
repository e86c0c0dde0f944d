package containerd

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// Start implements runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) error {
	p, err := r.recall(ctx, id)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir(id), 0o700); err != nil {
		return err
	}
	if err := r.startTask(ctx, id, p); err != nil {
		if !errdefs.IsUnavailable(err) && ctx.Err() == nil && !errdefs.IsAlreadyExists(err) {
			_ = r.removeDir(id) // it never ran
		}
		return err
	}
	now := time.Now()
	return os.Chtimes(r.marker(id), now, now)
}

func (r *Runtime) startTask(ctx context.Context, id string, p prepared) error {
	request := &tasks.CreateTaskRequest{ContainerID: id}
	if p.logPath != "" {
		request.Stdout = stdio.URI(r.opts.PauseBinary, r.socket(id), p.logPath, r.opts.Logs)
		request.Stderr = request.Stdout
	}
	for _, m := range p.mounts {
		request.Rootfs = append(request.Rootfs, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	service := r.client.TaskService()
	_, err := service.Create(ctx, request)
	if err = native(err); errdefs.IsAlreadyExists(err) {
		err = r.inherit(ctx, request)
	}
	if err != nil {
		return fmt.Errorf("create the process of %q: %w", id, err)
	}
	// From here on it may run, whatever becomes of the agent.
	if err := os.WriteFile(r.marker(id), nil, 0o600); err != nil {
		return err
	}
	if _, err := service.Start(ctx, &tasks.StartRequest{ContainerID: id}); err != nil {
		err = native(err)
		if !errdefs.IsUnavailable(err) && ctx.Err() == nil {
			_, _ = service.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id}) // what is left, Remove finds
		}
		return fmt.Errorf("start the process of %q: %w", id, err)
	}
	return nil
}

// inherit takes over the task of an agent that died before it could start it. One whose making was broken off has an end,
// but never ran, and is made anew.
func (r *Runtime) inherit(ctx context.Context, request *tasks.CreateTaskRequest) error {
	id, service := request.ContainerID, r.client.TaskService()
	task, err := service.Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		return native(err)
	}
	switch state(task.Process) {
	case runtime.StateCreated:
		return nil
	case runtime.StateExited:
		if r.startedAt(id).IsZero() {
			if err := r.removeTask(ctx, id); err != nil {
				return err
			}
			_, err = service.Create(ctx, request)
			return native(err)
		}
	}
	return fmt.Errorf("container %q was started before: %w", id, errdefs.ErrAlreadyExists)
}

// dir of a container below StateDir. The name is short because it holds a socket.
func (r *Runtime) dir(id string) string {
	return filepath.Join(r.opts.StateDir, "containers", fmt.Sprintf("%x", sha256.Sum256([]byte(id)))[:20])
}

// marker is a file that says that the container was started in this boot, its time when.
func (r *Runtime) marker(id string) string { return filepath.Join(r.dir(id), "started") }

func (r *Runtime) socket(id string) string { return filepath.Join(r.dir(id), "log") }

// removeDir removes what StateDir has of a container.
func (r *Runtime) removeDir(id string) error {
	counts := stdio.ReadCounts(r.socket(id))
	if err := os.RemoveAll(r.dir(id)); err != nil {
		return err
	}
	r.Logs.Gone(counts)
	return nil
}
