package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"miniplane.dev/miniplane/test/perf/procs"
)

// shimServers are the processes that hold the containers of MiniPods.
func (w *world) shimServers() (procs.Table, error) {
	reader := w.kernel.procs
	reader.Cgroups = []string{"/miniplane-local", "/miniplane"}
	table, err := reader.Read()
	if err != nil {
		return nil, err
	}
	servers := slices.DeleteFunc(table.Of(procs.MiniShim), func(p procs.Process) bool { return !slices.Contains(p.Args, "serve") })
	if len(servers) == 0 {
		return nil, errors.New("no server of miniplane's shim is found on this machine")
	}
	return servers, nil
}

func send(table procs.Table, s syscall.Signal) error {
	var errs []error
	for _, p := range table {
		if err := syscall.Kill(p.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("signal %d to process %d: %w", s, p.PID, err))
		}
	}
	return errors.Join(errs...)
}

// stopShims has every server of the shim hang.
func stopShims(_ context.Context, w *world) (undo, error) {
	servers, err := w.shimServers()
	if err != nil {
		return nil, err
	}
	back := func(context.Context) error { return send(servers, syscall.SIGCONT) }
	return back, send(servers, syscall.SIGSTOP)
}

// killShims kills every server of the shim. Containers live on without one, so that only those that came later have one the next time.
func killShims(ctx context.Context, w *world) (undo, error) {
	return nil, eventually(ctx, patience, "a server to kill", func() error {
		servers, err := w.shimServers()
		if err != nil {
			return err
		}
		return send(servers, syscall.SIGKILL)
	})
}
