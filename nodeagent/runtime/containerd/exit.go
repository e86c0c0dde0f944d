package containerd

import (
	"context"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// ended is how a stopped task ended.
func (r *Runtime) ended(record containers.Container, task *tasktypes.Process, started time.Time) exit {
	stdio.Flush(r.socket(record.ID))
	return exit{
		code: int(task.ExitStatus), started: started, finished: task.ExitedAt.AsTime(),
		oom: r.oomKilled(record, int(task.ExitStatus)),
	}
}

// oomKilled tells whether memory was why a container ended: the kernel killed in its cgroup, by the event or, for an
// agent that was away then, by the counter that stays until the cgroup is removed.
func (r *Runtime) oomKilled(record containers.Container, code int) bool {
	if code == 0 {
		return false
	}
	r.mu.Lock()
	seen := r.ooms[record.ID]
	r.mu.Unlock()
	return seen || cgroup.OOMKills(peek(record).Linux.CgroupsPath) > 0
}

// remember writes how a container ended into its label, behind the caller's back: until it is there the task says the same.
func (r *Runtime) remember(id string, e exit) {
	r.persist.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.keep(ctx, id, e)
	})
}

// keep writes how a container ended into its label.
func (r *Runtime) keep(ctx context.Context, id string, e exit) {
	r.mu.Lock()
	delete(r.ooms, id)
	r.mu.Unlock()
	// The next List writes it again if this fails.
	_, _ = r.client.ContainerService().Update(ctx, containers.Container{
		ID: id, Labels: map[string]string{labelExit: e.String()},
	}, "labels."+labelExit)
}

// exited handles the exit of a container, seen as an event: its output is complete and its end is kept.
func (r *Runtime) exited(ctx context.Context, id string, code int, finished time.Time) {
	m := r.marked(id)
	switch {
	case !m.exists():
		return // it was broken off before it ran
	case m.runs(): // and only its server has ended
		r.watch(id, m)
		return
	case !m.ended():
		return // containerd tells so because its server has ended. Whether it was let go is not known, but it is there
	}
	// A server that was killed takes along what runs on runc's shim, or on ours of earlier versions; containerd tells it as killed.
	alone := m.server.pid != 0 && m.server.gone()
	stdio.Flush(r.socket(id))
	record, err := r.client.ContainerService().Get(ctx, id)
	if err != nil {
		return // removed meanwhile, or the next List sees it
	}
	if _, done := record.Labels[labelExit]; done {
		return
	}
	oom := r.oomKilled(record, code)
	e := exit{code: code, started: startOf(m, finished, time.Now(), uptime()), finished: finished, oom: oom, lost: alone && code == killed && !oom}
	if e.lost {
		serverFailures.WithLabelValues("ended").Inc()
	}
	if alone { // nobody else could tell until it is written
		r.keep(ctx, id, e)
		return
	}
	r.remember(id, e)
}
