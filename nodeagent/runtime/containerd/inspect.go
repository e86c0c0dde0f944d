package containerd

import (
	"context"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Inspect observes one container, as List does all. NotFound if there is none.
func (r *Runtime) Inspect(ctx context.Context, id string) (runtime.Container, error) {
	var task *tasktypes.Process
	answer, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	switch err = native(err); {
	case err == nil:
		task = answer.Process
	case !errdefs.IsNotFound(err):
		return runtime.Container{}, err
	}
	record, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return runtime.Container{}, native(err)
	}
	return r.observe(record, task), nil
}
