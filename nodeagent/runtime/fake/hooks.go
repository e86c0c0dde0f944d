package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Op names a method of the runtime.
type Op string

// The operations that hooks and Calls see.
const (
	OpVersion Op = "Version"
	OpImage   Op = "Image"
	OpPull    Op = "PullImage"
	OpImages  Op = "Images"
	OpCreate  Op = "Create"
	OpStart   Op = "Start"
	OpKill    Op = "Kill"
	OpRemove  Op = "Remove"
	OpList    Op = "List"
	OpEvents  Op = "Events"
	OpInspect Op = "Inspect"
	OpSweep   Op = "Sweep"
	OpExec    Op = "Exec"
)

// Call is one call that was made. Subject is a container's ID or an image's reference.
type Call struct {
	Op      Op
	Subject string
}

// Hook runs before an operation, without any lock: it may wait (latency), call the fake, or fail the operation.
type Hook func(ctx context.Context, op Op, subject string) error

// OnCall adds a hook.
func (r *Runtime) OnCall(hook Hook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = append(r.hooks, hook)
}

// Latency is a hook that makes one operation take that long, or until its context ends.
func Latency(slow Op, d time.Duration) Hook {
	return func(ctx context.Context, op Op, _ string) error {
		if op != slow {
			return nil
		}
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SetClock replaces time.Now for the times in statuses, events and logs.
func (r *Runtime) SetClock(now func() time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
}

// SetProgram decides what containers do that are started from now on.
func (r *Runtime) SetProgram(program Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.program = program
}

// SetCopies says what is done while a container is created, as what its image has in volumes is copied.
func (r *Runtime) SetCopies(f func(spec runtime.ContainerSpec)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.copies = f
}

// AddImage makes an image present.
func (r *Runtime) AddImage(ref string, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addImage(ref, size)
}

// SetImageUser says whom an image's containers run as when nothing else is said; root otherwise.
func (r *Runtime) SetImageUser(ref string, user uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[ref] = user
}

// SetStopSignal says by which signal an image's containers are asked to end when nothing else is said; SIGTERM otherwise.
func (r *Runtime) SetStopSignal(ref string, signal runtime.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops[ref] = signal
}

// RemoveImage makes an image absent.
func (r *Runtime) RemoveImage(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, ref)
}

// SetPull says what a pull of a reference gives: nil lets it succeed. References never set are NotFound in the registry.
func (r *Runtime) SetPull(ref string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registry[ref] = err
}

// SetPrivate makes the registry give an image to those only who have this credential; its Registry does not matter.
func (r *Runtime) SetPrivate(ref string, auth runtime.RegistryAuth) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registry[ref], r.private[ref] = nil, auth
}

// SetPublic makes the registry give an image to everybody.
func (r *Runtime) SetPublic(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registry[ref] = nil
	delete(r.private, ref)
}

// PullsAnything makes every pull succeed that SetPull did not make fail.
func (r *Runtime) PullsAnything() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pullAny = true
}

// Exit ends a running container's process from inside.
func (r *Runtime) Exit(id string, code int) error { return r.inject(id, code, false) }

// FailServer ends a running container with its server, as runc's shim does when it is killed.
func (r *Runtime) FailServer(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil || c.status.State != runtime.StateRunning {
		return fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	c.status.ServerFailed = true
	r.exit(c, 128+int(runtime.SIGKILL), false)
	return nil
}

// OOM ends a running container as the kernel does when its memory limit is hit.
func (r *Runtime) OOM(id string) error { return r.inject(id, 128+int(runtime.SIGKILL), true) }

func (r *Runtime) inject(id string, code int, oom bool) error {
	r.mu.Lock()
	c := r.containers[id]
	r.mu.Unlock()
	if c == nil {
		return fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	return r.end(c, code, oom)
}

// Reboot loses all processes without a trace of how they ended: what was started is in StateUnknown after it.
func (r *Runtime) Reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.status.State != runtime.StateCreated {
			c.status.State, c.status.PID = runtime.StateUnknown, 0
		}
	}
	r.dropStreams()
}

// SetSilent makes a container one whose server does not answer, or does again. It goes on as before.
func (r *Runtime) SetSilent(id string, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		c.silent = silent
	}
}

// SetDown makes the runtime unreachable, closing all event streams, or reachable again. Containers live on.
func (r *Runtime) SetDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = nil
	if down {
		r.down = fmt.Errorf("runtime is down: %w", errdefs.ErrUnavailable)
		r.dropStreams()
	}
}

// Spec is what a container was created with; false if there is none.
func (r *Runtime) Spec(id string) (runtime.ContainerSpec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return runtime.ContainerSpec{}, false
	}
	return c.spec, true
}

// Calls made so far, in order; those of the given operations only, if any are given.
func (r *Runtime) Calls(ops ...Op) []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Call
	for _, call := range r.calls {
		if len(ops) == 0 || contains(ops, call.Op) {
			out = append(out, call)
		}
	}
	return out
}

// ResetCalls forgets the calls made so far.
func (r *Runtime) ResetCalls() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}

// begin records a call and lets hooks and outages have their say.
func (r *Runtime) begin(ctx context.Context, op Op, subject string) error {
	r.mu.Lock()
	r.calls = append(r.calls, Call{op, subject})
	hooks, down := r.hooks, r.down
	r.mu.Unlock()
	if down != nil {
		return down
	}
	for _, hook := range hooks {
		if err := hook(ctx, op, subject); err != nil {
			return err
		}
	}
	return ctx.Err()
}
