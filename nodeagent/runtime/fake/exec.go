package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Execute decides what a command in a container does. It returns when ctx ends, at the latest.
type Execute func(ctx context.Context, spec runtime.ContainerSpec, args []string) (code int, output string)

// SetExec decides what commands do that are run from now on; without it they succeed.
func (r *Runtime) SetExec(execs Execute) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs = execs
}

// Exec implements runtime.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, command runtime.Command) (runtime.Executed, error) {
	if err := r.begin(ctx, OpExec, id); err != nil {
		return runtime.Executed{}, err
	}
	r.mu.Lock()
	c, execs := r.containers[id], r.execs
	var err error
	var spec runtime.ContainerSpec
	switch {
	case c == nil:
		err = fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	case c.status.State != runtime.StateRunning:
		err = fmt.Errorf("container %q does not run: %w", id, errdefs.ErrFailedPrecondition)
	default:
		spec = c.spec
	}
	r.mu.Unlock()
	if err != nil || execs == nil {
		return runtime.Executed{}, err
	}
	running, cancel := context.WithCancel(ctx)
	if command.Timeout > 0 {
		running, cancel = context.WithTimeout(ctx, command.Timeout)
	}
	defer cancel()
	began := time.Now()
	code, output := execs(running, spec, command.Args)
	ran := time.Since(began)
	if err := ctx.Err(); err != nil {
		return runtime.Executed{}, err
	}
	if running.Err() != nil {
		return runtime.Executed{TimedOut: true, Ran: ran}, nil
	}
	return runtime.Executed{ExitCode: code, Output: []byte(output)[:min(len(output), command.MaxOutput)], Ran: ran}, nil
}

// Hangs is a command that does nothing until it is killed.
func Hangs(ctx context.Context) (int, string) {
	<-ctx.Done()
	return 0, ""
}

// Slow is a command that succeeds after a time.
func Slow(ctx context.Context, d time.Duration) (int, string) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return 0, ""
}
