package containerd

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// List implements runtime.Runtime: two calls, however many containers there are.
func (r *Runtime) List(ctx context.Context) ([]runtime.Container, error) {
	// Tasks first: a container that is removed between the calls is then missing, and not one without a process.
	running, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, native(err)
	}
	byID := make(map[string]*tasktypes.Process, len(running.Tasks))
	for _, task := range running.Tasks {
		byID[task.ID] = task
	}
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return nil, native(err)
	}
	out := make([]runtime.Container, 0, len(records))
	for _, record := range records {
		out = append(out, r.observe(record, byID[record.ID]))
	}
	return out, nil
}

// observe puts the evidence together: the task, then the exit label, then the marker.
func (r *Runtime) observe(record containers.Container, task *tasktypes.Process) runtime.Container {
	out := runtime.Container{
		ID: record.ID, Image: record.Image, ImageID: record.Labels[labelImageID], CreatedAt: record.CreatedAt,
		Labels: maps.Clone(record.Labels), State: state(task),
	}
	maps.DeleteFunc(out.Labels, func(key, _ string) bool { return strings.HasPrefix(key, labelPrefix) })
	started := r.startedAt(record.ID)
	marked := !started.IsZero()
	if marked && out.State != runtime.StateCreated {
		out.StartedAt = started
	}
	label, labelled := parseExit(record.Labels[labelExit])
	switch {
	case out.State == runtime.StateRunning:
		out.PID = int(task.Pid)
	case labelled:
		out.State, out.StartedAt, out.FinishedAt = runtime.StateExited, label.started, label.finished
		out.ExitCode, out.OOMKilled = label.code, label.oom
	case out.State == runtime.StateExited && !marked:
		out.State = runtime.StateCreated // its making was broken off; it never ran
	case out.State == runtime.StateExited:
		ended := r.ended(record, task, out.StartedAt)
		out.FinishedAt, out.ExitCode, out.OOMKilled = ended.finished, ended.code, ended.oom
		r.remember(record.ID, ended)
	case task == nil && (marked || record.Labels[labelBoot] != r.bootID):
		out.State, out.StartedAt = runtime.StateUnknown, time.Time{}
	}
	return out
}

// state of a container as far as its task tells; Created if there is none.
func state(task *tasktypes.Process) runtime.State {
	if task == nil {
		return runtime.StateCreated
	}
	switch task.Status {
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		return runtime.StateRunning
	case tasktypes.Status_STOPPED:
		return runtime.StateExited
	case tasktypes.Status_CREATED:
		return runtime.StateCreated
	default:
		return runtime.StateUnknown
	}
}
