package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// Starting a shim costs a fifth of a container's start and 8 MB. Shim hosts share them: a host is a shim that is kept alive
// by one idle process, with an entry in containerd's sandbox store, and a container whose record names that entry is run by
// the host's shim without any program being started for it. Hosts live in containerd like containers do, so they
// outlive the agent, and a new agent finds them and who uses them in one list.
//
// The price is that the end of one shim ends all that it hosts; how many that are is Options.ContainersPerShim.
const hostPrefix = "miniplane-shim-"

func isHost(id string) bool { return strings.HasPrefix(id, hostPrefix) }

// hosts are the shims that have room.
type hosts struct {
	mu     sync.Mutex
	known  bool
	users  map[string]int    // containers of a host
	of     map[string]string // the host of a container
	making *making
}

// making is a host that is being made. err is set when done closes.
type making struct {
	done chan struct{}
	err  error
}

// take gives a host to a container, and makes the next one in time.
func (r *Runtime) take(ctx context.Context, container string) (string, error) {
	if r.opts.ContainersPerShim == 0 {
		return "", nil
	}
	if err := r.knowHosts(ctx); err != nil {
		return "", err
	}
	for {
		r.hosts.mu.Lock()
		best, free := "", 0
		for id, users := range r.hosts.users {
			room := r.opts.ContainersPerShim - users
			if free += max(room, 0); room > 0 && (best == "" || users < r.hosts.users[best]) {
				best = id
			}
		}
		if best != "" {
			r.hosts.users[best]++
			r.hosts.of[container] = best
		}
		var wait *making
		if best == "" || free <= r.opts.ContainersPerShim/4 {
			wait = r.makeHost()
		}
		r.hosts.mu.Unlock()
		if best != "" {
			return best, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-wait.done:
			if wait.err != nil {
				return "", fmt.Errorf("shim host: %w", wait.err)
			}
		}
	}
}

// give takes a container off its host's count. A host without users goes when the others have room enough.
func (r *Runtime) give(container string) {
	r.hosts.mu.Lock()
	defer r.hosts.mu.Unlock()
	host, ok := r.hosts.of[container]
	if !ok {
		return
	}
	delete(r.hosts.of, container)
	if _, ok := r.hosts.users[host]; !ok {
		return
	}
	r.hosts.users[host]--
	free := 0
	for id, users := range r.hosts.users {
		if id != host {
			free += max(r.opts.ContainersPerShim-users, 0)
		}
	}
	if r.hosts.users[host] == 0 && free >= r.opts.ContainersPerShim {
		r.drop(host)
	}
}

// drop needs the lock. It gives a host no more containers and removes it; those that it has run on.
func (r *Runtime) drop(host string) {
	if _, ok := r.hosts.users[host]; !ok {
		return
	}
	delete(r.hosts.users, host)
	r.persist.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = r.endHost(ctx, host) // the next agent tries again
	})
}

// doubt drops a container's host if it does not run any more, after a start that failed.
func (r *Runtime) doubt(ctx context.Context, container string) {
	r.hosts.mu.Lock()
	defer r.hosts.mu.Unlock()
	host, ok := r.hosts.of[container]
	if !ok {
		return
	}
	task, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: host})
	if errdefs.IsNotFound(native(err)) || err == nil && state(task.Process) != runtime.StateRunning {
		r.drop(host)
	}
}

// makeHost needs the lock.
func (r *Runtime) makeHost() *making {
	if r.hosts.making != nil {
		return r.hosts.making
	}
	m := &making{done: make(chan struct{})}
	r.hosts.making = m
	r.persist.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		id := hostPrefix + strings.ToLower(rand.Text()[:10])
		m.err = r.startHost(ctx, id)
		r.hosts.mu.Lock()
		if m.err == nil {
			r.hosts.users[id] = 0
		}
		r.hosts.making = nil
		r.hosts.mu.Unlock()
		close(m.done)
	})
	return m
}

// knowHosts reads once which hosts there are and who uses them, and removes dead ones.
func (r *Runtime) knowHosts(ctx context.Context) error {
	r.hosts.mu.Lock()
	defer r.hosts.mu.Unlock()
	if r.hosts.known {
		return nil
	}
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return native(err)
	}
	running, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return native(err)
	}
	alive := map[string]bool{}
	for _, task := range running.Tasks {
		alive[task.ID] = task.Status == tasktypes.Status_RUNNING
	}
	r.hosts.users, r.hosts.of = map[string]int{}, map[string]string{}
	for _, record := range records {
		if isHost(record.ID) && alive[record.ID] {
			r.hosts.users[record.ID] += 0
		} else if isHost(record.ID) {
			_ = r.endHost(ctx, record.ID) // tried again by the next agent
		}
		if _, dead := alive[record.SandboxID]; isHost(record.SandboxID) && dead {
			r.hosts.users[record.SandboxID]++
			r.hosts.of[record.ID] = record.SandboxID
		}
	}
	r.hosts.known = true
	return nil
}

func (r *Runtime) hostCgroup(id string) string { return filepath.Join(r.opts.ShimCgroup, id) }

func (r *Runtime) startHost(ctx context.Context, id string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.endHost(context.WithoutCancel(ctx), id))
		}
	}()
	root, err := r.hostRoot()
	if err != nil {
		return err
	}
	record, err := r.hostRecord(id)
	if err != nil {
		return err
	}
	if _, err := r.client.ContainerService().Create(ctx, record); err != nil {
		return native(err)
	}
	entry := sandbox.Sandbox{ID: id, Runtime: sandbox.RuntimeOpts{Name: runtimeName}}
	if _, err := r.client.SandboxStore().Create(r.ns(ctx), entry); err != nil {
		return native(err)
	}
	service := r.client.TaskService()
	if _, err := service.Create(ctx, &tasks.CreateTaskRequest{ContainerID: id, Rootfs: root}); err != nil {
		return native(err)
	}
	_, err = service.Start(ctx, &tasks.StartRequest{ContainerID: id})
	return native(err)
}

// endHost removes all of a host that is there.
func (r *Runtime) endHost(ctx context.Context, id string) error {
	if err := r.removeTask(ctx, id); err != nil {
		return err
	}
	if err := cgroup.Remove(ctx, r.hostCgroup(id)); err != nil {
		return err
	}
	if err := ignore(native(r.client.SandboxStore().Delete(r.ns(ctx), id))); err != nil {
		return err
	}
	return ignore(native(r.client.ContainerService().Delete(ctx, id)))
}

// EndHosts removes the shim hosts, for the time when no container is left.
func (r *Runtime) EndHosts(ctx context.Context) error {
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return native(err)
	}
	used := map[string]bool{}
	for _, record := range records {
		used[record.SandboxID] = true
	}
	for _, record := range records {
		if !isHost(record.ID) {
			continue
		}
		if used[record.ID] {
			return fmt.Errorf("shim host %s has containers: %w", record.ID, errdefs.ErrFailedPrecondition)
		}
		r.hosts.mu.Lock()
		delete(r.hosts.users, record.ID)
		r.hosts.mu.Unlock()
		if err := r.endHost(ctx, record.ID); err != nil {
			return fmt.Errorf("shim host %s: %w", record.ID, err)
		}
	}
	return os.RemoveAll(filepath.Join(r.opts.StateDir, "shim-root"))
}

func (r *Runtime) hostRecord(id string) (containers.Container, error) {
	return r.recordOf(id, hostSpec(r.hostCgroup(id), r.oomMin), nil)
}
