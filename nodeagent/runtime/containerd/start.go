package containerd

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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
		if errdefs.IsDeadlineExceeded(err) {
			r.unheard(id)
		}
		return err
	}
	return nil
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
	pid := 0
	answer, err := service.Create(ctx, request)
	if err = native(err); errdefs.IsUnknown(err) && r.clearBefore(ctx, id) { // the bundle of a failed server's was in the way
		answer, err = service.Create(ctx, request)
		err = native(err)
	}
	if errdefs.IsAlreadyExists(err) {
		pid, err = r.inherit(ctx, request)
	} else if err == nil {
		pid = int(answer.Pid)
	}
	if err != nil {
		return fmt.Errorf("create the process of %q: %w", id, noRoom(inTheWay(err, id)))
	}
	return r.letGo(ctx, id, pid)
}

// noRoom tells of a task that could not be created because there was no room for its first process, in the words of Go or of C.
func noRoom(err error) error {
	if errdefs.IsUnknown(err) && strings.Contains(strings.ToLower(err.Error()), syscall.EAGAIN.Error()) {
		return fmt.Errorf("%w: %w", runtime.ErrNoRoom, err)
	}
	return err
}

// inTheWay tells of a task that could not be created because the container's bundle is there, or was taken away meanwhile. An earlier start that nobody waits
// for any more may still be making it, or clearing it away, or a sweep has to prove that none is: it is no answer about the container.
func inTheWay(err error, id string) error {
	if !errdefs.IsUnknown(err) {
		return err
	}
	words := err.Error()
	there := strings.Contains(words, "/"+id+": file exists")
	gone := strings.Contains(words, "failed to start shim") && strings.Contains(words, "/"+id+"/") && strings.Contains(words, syscall.ENOENT.Error())
	if there || gone {
		return fmt.Errorf("an earlier start of it may not be over: %w: %w", errdefs.ErrUnavailable, err)
	}
	return err
}

// letGo starts what was made. From the marker on it may run, whatever becomes of the agent; who failed before has no marker to take back, and
// what StateDir has may be of somebody who is making the container right now.
func (r *Runtime) letGo(ctx context.Context, id string, pid int) error {
	m := marker{}
	m.process, m.server = family(pid)
	if err := r.mark(id, m); err != nil {
		_ = r.removeDir(id)
		return err
	}
	if _, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id}); err != nil {
		err = native(err)
		if !runtime.IsUnanswered(err) {
			_, _ = r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id}) // what is left, Remove finds
			if !errdefs.IsAlreadyExists(err) {
				_ = r.removeDir(id) // it never ran
			}
		}
		return fmt.Errorf("start the process of %q: %w", id, err)
	}
	m.letGo = true
	return r.mark(id, m)
}

// inherit takes over the task of an agent that died before it could start it. One whose making was broken off has an end,
// but never ran, and is made anew. It returns the PID.
func (r *Runtime) inherit(ctx context.Context, request *tasks.CreateTaskRequest) (int, error) {
	id, service := request.ContainerID, r.client.TaskService()
	task, err := service.Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		return 0, native(err)
	}
	switch state(task.Process) {
	case runtime.StateCreated:
		return int(task.Process.Pid), nil
	case runtime.StateExited:
		if !r.marked(id).exists() {
			if _, err := r.removeTask(ctx, id); err != nil {
				return 0, err
			}
			made, err := service.Create(ctx, request)
			if err != nil {
				return 0, native(err)
			}
			return int(made.Pid), nil
		}
	}
	return 0, fmt.Errorf("container %q was started before: %w", id, errdefs.ErrAlreadyExists)
}

// dir of a container below StateDir. The name is short because it holds a socket.
func (r *Runtime) dir(id string) string {
	return filepath.Join(r.opts.StateDir, "containers", fmt.Sprintf("%x", sha256.Sum256([]byte(id)))[:20])
}

func (r *Runtime) socket(id string) string { return filepath.Join(r.dir(id), "log") }

// removeDir removes what StateDir has of a container.
func (r *Runtime) removeDir(id string) error {
	r.mu.Lock()
	delete(r.processes, id)
	r.mu.Unlock()
	counts := stdio.ReadCounts(r.socket(id))
	if err := os.RemoveAll(r.dir(id)); err != nil {
		return err
	}
	r.Logs.Gone(counts)
	return nil
}
