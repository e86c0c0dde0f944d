package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd/shim/waiting"
)

var leftoversCleared = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "miniplane_agent_leftovers_cleared_total",
	Help: "Containers of servers (the shim) that failed, whose remains containerd left behind and the agent took away.",
})

func init() { metrics.Registry.MustRegister(leftoversCleared) }

// leftover is what containerd left of a container whose server failed. It runs the shim's "delete" then, once and for at most five seconds,
// forgets the task, and never comes back to what that could not finish: an init that waits, a cgroup, a mount, files, and the
// bundle, for which it refuses to start the container again.
type leftover struct {
	id string
	// bundle is containerd's directory of it; it may be gone.
	bundle string
	// runtime is what containerd executed for it: the path of its server.
	runtime string
	// seen tells whether anything happened to it since.
	seen stamp
}

// run is the directory of the servers of the container's version of the shim.
func (l leftover) run() (string, error) {
	return os.Readlink(filepath.Join(filepath.Dir(programOf(l.runtime)), "run"))
}

// socket is that of the container's server; empty if it is of no server of ours.
func (l leftover) socket() string {
	number := filepath.Base(filepath.Dir(l.runtime))
	run, err := l.run()
	if err != nil || filepath.Base(l.runtime) != shimName || !isServer(number) {
		return ""
	}
	return filepath.Join(run, number)
}

// clearLeftovers clears what stayed as it is for so long that nobody can be making something of it.
func (r *Runtime) clearLeftovers(ctx context.Context) error {
	found, err := r.leftovers(ctx)
	if err != nil {
		return fmt.Errorf("what servers left behind: %w", err)
	}
	now := map[string]sighting{}
	var errs []error
	for _, left := range found {
		before, again := r.left[left.id]
		if !again || before.stamp != left.seen {
			before = sighting{left.seen, time.Now()}
		}
		now[left.id] = before
		if time.Since(before.first) < r.settled {
			continue
		}
		if err := r.clearSettled(ctx, left); err != nil {
			errs = append(errs, fmt.Errorf("what a server left of container %q: %w", left.id, err))
		}
	}
	r.left = now
	return errors.Join(errs...)
}

// clearSettled clears a leftover if containerd, or a server that it asks, knows of no task.
func (r *Runtime) clearSettled(ctx context.Context, left leftover) error {
	_, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: left.id})
	if err = native(err); !errdefs.IsNotFound(err) {
		return nil // it is there, or nobody knows: the next sweep asks again
	}
	_, err = r.clear(ctx, left)
	return err
}

// leftovers are the containers that have something although the server that they had seems to be gone. Some may be well and only without a
// server.
func (r *Runtime) leftovers(ctx context.Context) ([]leftover, error) {
	found, err := r.bundles()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, left := range found {
		known[left.id] = true
	}
	// When containerd starts, it removes the bundle also where "delete" failed.
	dirs, err := filepath.Glob(filepath.Join(r.opts.StateDir, "shim-*", "c", "*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		id := filepath.Base(dir)
		if strings.HasPrefix(id, ".") { // put aside by a "delete" that was broken off; no container's ID begins so
			_ = os.RemoveAll(dir) // or the next sweep does
			continue
		}
		if known[id] {
			continue
		}
		record, err := r.client.ContainerService().Get(ctx, id)
		if err != nil {
			continue // nobody knows which server it had, or nobody answers
		}
		if seen, err := stampOf(dir); err == nil {
			found = append(found, leftover{id: id, runtime: record.Runtime.Name, seen: seen})
		}
	}
	since := map[string]time.Time{}
	return slices.DeleteFunc(found, func(left leftover) bool {
		socket := left.socket()
		if _, asked := since[socket]; !asked {
			since[socket] = servedSince(socket)
		}
		return !left.outlived(since[socket])
	}), nil
}

// leftoverOf is what is there of one container; false if there is nothing.
func (r *Runtime) leftoverOf(id, runtime string) (left leftover, found bool, err error) {
	err = r.asContainerd(func() error {
		for _, dir := range r.bundleDirs() {
			if left, found = atBundle(filepath.Join(dir, id)); found {
				return nil
			}
		}
		return nil
	})
	if found || err != nil {
		return left, found, err
	}
	left = leftover{id: id, runtime: runtime}
	run, err := left.run()
	if err != nil {
		return left, false, nil //nolint:nilerr // not of our shim
	}
	left.seen, err = stampOf(filepath.Join(run, "c", id))
	return left, err == nil, nil
}

// clearBefore clears what is in the way of a container that is about to be started; false if there was nothing to clear.
func (r *Runtime) clearBefore(ctx context.Context, id string) bool {
	left, found, err := r.leftoverOf(id, "")
	if err != nil || !found {
		return false // then it cannot be started, and the next Sweep tells why
	}
	cleared, err := r.clear(ctx, left)
	return cleared && err == nil
}

// clearRemoved clears what is left of a container that is being removed, whose processes are gone. Where containerd has just forgotten
// its task, it removed the bundle itself, and only the shim's own directory may be left.
func (r *Runtime) clearRemoved(ctx context.Context, record containers.Container, forgotten bool) error {
	run, err := leftover{runtime: record.Runtime.Name}.run()
	if err != nil || !spares(record) {
		return nil // not of our shim, or of one that is not installed any more
	}
	if _, err := os.Lstat(filepath.Join(run, "c", record.ID)); forgotten && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	left, found, err := r.leftoverOf(record.ID, record.Runtime.Name)
	if err != nil || !found || !left.serverless() {
		return err
	}
	r.clearing.Lock()
	defer r.clearing.Unlock()
	return r.takeAway(ctx, left, "")
}

// clear takes a leftover away, if it is proven to be one and nothing of it lives on: containerd has no task of it and is done with it, it is
// as it was seen, and what is in its cgroup are inits that wait for a server that is gone. It is false where that is not so: without its server
// a container may be well. What is proven stays so to the end: containerd starts no container whose bundle is there, nor a server one whose
// directory is.
func (r *Runtime) clear(ctx context.Context, left leftover) (cleared bool, err error) {
	r.clearing.Lock()
	defer r.clearing.Unlock()
	if !left.serverless() {
		return false, nil
	}
	if _, err := r.forget(ctx, left.id); err != nil { // which waits until containerd is done
		return false, err
	}
	if m := r.marked(left.id); m.unread || m.letGo && !m.ended() || !r.unchanged(left) {
		return false, nil
	}
	path, err := r.cgroupOf(ctx, left)
	if err != nil || path == "" {
		return false, err
	}
	members, err := cgroup.Members(path)
	if err != nil || slices.ContainsFunc(members, func(pid int) bool { return !left.abandoned(pid) }) {
		return false, err
	}
	return true, r.takeAway(ctx, left, path)
}

// abandoned tells whether a process is certain to be an init that waits for a server that is gone: somebody else has become its parent.
func (l leftover) abandoned(pid int) bool {
	now, alive, err := seen(pid)
	if err != nil || !alive || waiting.Look(pid, programOf(l.runtime)) != waiting.Waits {
		return false
	}
	// What the first process of the machine executes, the kernel may not tell the agent.
	parent, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", now.parent))
	return err == nil && len(parent) > 0 && !serves(parent) && waiting.Look(now.parent, programOf(l.runtime)) != waiting.Waits
}

// unchanged tells whether a leftover is still what was seen.
func (r *Runtime) unchanged(left leftover) (same bool) {
	dir := left.bundle
	if dir == "" {
		run, err := left.run()
		if err != nil {
			return false
		}
		dir = filepath.Join(run, "c", left.id)
	}
	_ = r.asContainerd(func() error {
		now, err := stampOf(dir)
		same = err == nil && now == left.seen
		return err
	})
	return same
}

// cgroupOf is a leftover's cgroup: as its record says, or else its bundle. Empty where neither is left: then it was removed, and its
// cgroup with it.
func (r *Runtime) cgroupOf(ctx context.Context, left leftover) (string, error) {
	record, err := r.client.ContainerService().Get(ctx, left.id)
	if err = native(err); err == nil {
		return peek(record).Linux.CgroupsPath, nil
	}
	if !errdefs.IsNotFound(err) || left.bundle == "" {
		return "", ignore(err)
	}
	var spec peeked
	err = r.asContainerd(func() error {
		text, err := os.ReadFile(filepath.Join(left.bundle, "config.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, json.Unmarshal(text, &spec))
	})
	return spec.Linux.CgroupsPath, err
}

// takeAway removes what is left, the bundle last: by that it is found again if this is broken off.
func (r *Runtime) takeAway(ctx context.Context, left leftover, path string) error {
	if path != "" {
		if err := cgroup.Remove(ctx, path); err != nil {
			return err
		}
	}
	run, err := left.run()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(run, "c", left.id)); err != nil {
		return err
	}
	if left.bundle != "" {
		if err := r.asContainerd(func() error { return removeBundle(left.bundle, left.seen) }); err != nil {
			return err
		}
	}
	leftoversCleared.Inc()
	return nil
}

// forget has containerd forget a task, and waits until it is done with it; false if it knew of none. Where the server of one has just gone,
// containerd does it and answers with that, so that it is asked once more.
func (r *Runtime) forget(ctx context.Context, id string) (known bool, err error) {
	for range 2 {
		_, err = r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		if err = native(err); !errdefs.IsUnknown(err) {
			break
		}
	}
	return err == nil, ignore(err)
}

// serverless tells whether the server that a leftover had seems to be gone: nobody listens, or somebody who came after all that happened
// there, or that happened by a clock that was set back since. It only says where to look: clocks are set.
func (l leftover) serverless() bool { return l.outlived(servedSince(l.socket())) }

// outlived tells it by since when the socket is there.
func (l leftover) outlived(since time.Time) bool {
	return since.After(l.seen.changed) || !since.IsZero() && l.seen.changed.After(time.Now())
}

// never is later than all that was.
var never = time.Unix(1<<40, 0)

// servedSince is since when a socket is there; never, if it is certain that nobody listens. Of none it is the beginning of time.
func servedSince(socket string) time.Time {
	if socket == "" {
		return time.Time{}
	}
	info, err := os.Stat(socket)
	if errors.Is(err, fs.ErrNotExist) {
		return never
	}
	if err != nil {
		return time.Time{}
	}
	conn, err := net.DialTimeout("unix", socket, time.Second) // the kernel answers at once; a full queue is an answer too
	if err == nil {
		_ = conn.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return never
	}
	return info.ModTime()
}
