package containerd

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

const (
	// askAtOnce is how many are asked at a time.
	askAtOnce = 16
	// askAgain is how long a shim that did not answer is not asked again.
	askAgain = 2 * time.Second
)

// List implements runtime.Runtime: one call, and a look at the kernel. A shim is asked only about a container that the
// kernel does not show and whose end nobody wrote down. containerd's own list asks all shims, one after another, and leaves
// out those that do not answer. Nearly all of its time goes into reading the records, whose specs are long; containerd's API has no way to
// ask for less (its filters choose records, not fields).
func (r *Runtime) List(ctx context.Context) ([]runtime.Container, error) {
	records, err := r.records(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]runtime.Container, len(records))
	gone := make([]bool, len(records))
	var asked sync.WaitGroup
	slots := make(chan struct{}, askAtOnce)
	for i, record := range records {
		var certain bool
		if out[i], certain = r.known(record); certain {
			continue
		}
		slots <- struct{}{}
		asked.Go(func() {
			defer func() { <-slots }()
			c, err := r.find(ctx, record)
			if out[i] = c; err != nil {
				gone[i] = true
			}
		})
	}
	asked.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	there := out[:0]
	for i, c := range out {
		if !gone[i] {
			there = append(there, c)
		}
	}
	return there, nil
}

// Inspect implements runtime.Runtime.
func (r *Runtime) Inspect(ctx context.Context, id string) (runtime.Container, error) {
	record, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return runtime.Container{}, native(err)
	}
	return r.observe(ctx, record)
}

// observe looks at the container of a record.
func (r *Runtime) observe(ctx context.Context, record containers.Container) (runtime.Container, error) {
	if c, certain := r.known(record); certain {
		return c, nil
	}
	return r.find(ctx, record)
}

// known is what can be told of a container without its shim, and whether that is all there is to know.
func (r *Runtime) known(record containers.Container) (runtime.Container, bool) {
	out := r.described(record)
	if label, ended := parseExit(record.Labels[labelExit]); ended {
		out.State, out.StartedAt, out.FinishedAt = runtime.StateExited, label.started, label.finished
		out.ExitCode, out.OOMKilled, out.ServerFailed = label.code, label.oom, label.lost
		return out, true
	}
	m := r.marked(record.ID)
	now, lives := m.process.look()
	switch {
	case !m.exists() && record.Labels[labelBoot] != r.bootID:
		out.State = runtime.StateUnknown
		return out, true
	case !m.exists():
		return out, true // a marker is written before anything is started
	case lives && m.letGo, m.executes(record):
		out.State, out.StartedAt, out.PID = runtime.StateRunning, m.at, m.process.pid
		r.complete(record.ID, m, out.PID)
		if lives && m.orphaned(now) {
			r.watch(record.ID, m)
		}
		return out, true
	}
	return out, false
}

// described is what the record says.
func (r *Runtime) described(record containers.Container) runtime.Container {
	out := runtime.Container{
		ID: record.ID, Image: record.Image, ImageID: record.Labels[labelImageID], CreatedAt: record.CreatedAt,
		Labels: maps.Clone(record.Labels), State: runtime.StateCreated,
	}
	maps.DeleteFunc(out.Labels, func(key, _ string) bool { return strings.HasPrefix(key, labelPrefix) })
	return out
}

// find asks containerd, and by it the shim, about a container that has a marker and does not certainly run. NotFound when
// the container is gone by now.
func (r *Runtime) find(ctx context.Context, record containers.Container) (runtime.Container, error) {
	out, m := r.described(record), r.marked(record.ID)
	out.StartedAt = m.at
	task, err := r.ask(ctx, record)
	if errdefs.IsNotFound(err) {
		return r.untold(ctx, record, out, m)
	}
	if err != nil || task.Status == tasktypes.Status_UNKNOWN {
		out.State = runtime.StateUnanswered
		return out, nil //nolint:nilerr // that is what there is to tell
	}
	switch out.State = state(task); out.State {
	case runtime.StateRunning:
		out.PID = int(task.Pid)
		r.complete(record.ID, m, out.PID)
	case runtime.StateCreated:
		out.StartedAt = time.Time{}
	case runtime.StateExited:
		ended := r.ended(record, task, startOf(m, task.ExitedAt.AsTime(), time.Now(), uptime()))
		out.StartedAt, out.FinishedAt, out.ExitCode, out.OOMKilled = ended.started, ended.finished, ended.code, ended.oom
		r.remember(record.ID, ended)
	}
	return out, nil
}

// untold is a container of which containerd knows nothing (any more). Between two looks it may have been removed, or its end
// been written down. Only the kernel proves that it is dead; what lives without a shim lives on.
func (r *Runtime) untold(ctx context.Context, record containers.Container, out runtime.Container, m marker) (runtime.Container, error) {
	record, err := r.client.ContainerService().Get(ctx, record.ID)
	if err = native(err); errdefs.IsNotFound(err) {
		return out, err
	}
	switch {
	case err != nil:
		out.State = runtime.StateUnanswered
	case record.Labels[labelExit] != "":
		out, _ = r.known(record)
	case m.dead(peek(record).Linux.CgroupsPath):
		out.State, out.StartedAt = runtime.StateUnknown, time.Time{}
	default:
		endRest(record, m)
		out.State = runtime.StateUnanswered
	}
	return out, nil
}

// endRest ends what else runs in a container whose first process is proven to have ended, where it has no server any more that does, and its
// PIDs are not its own. Whether all of it died, the next look tells.
func endRest(record containers.Container, m marker) {
	if path := peek(record).Linux.CgroupsPath; path != "" && m.letGo && m.ended() {
		cgroup.Kill(path)
	}
}

// ask is a shim's word for a container. One that did not answer just now is not asked again for each of its containers.
func (r *Runtime) ask(ctx context.Context, record containers.Container) (*tasktypes.Process, error) {
	key := groupOf(record.ID)
	r.mu.Lock()
	silent := time.Since(r.silent[key]) < askAgain
	r.mu.Unlock()
	if silent {
		return nil, errdefs.ErrUnavailable
	}
	answer, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: record.ID})
	if err = native(err); err == nil {
		return answer.Process, nil
	}
	if errdefs.IsDeadlineExceeded(err) {
		r.unheard(record.ID)
		r.mu.Lock()
		r.silent[key] = time.Now()
		r.mu.Unlock()
	}
	return nil, err
}

// state of a container as its task tells; Created if there is none.
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
		return runtime.StateUnanswered
	}
}
