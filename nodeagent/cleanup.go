package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-logr/logr"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// cleanupAtATime is how many containers are removed at the same time.
const cleanupAtATime = 16

// Cleanup ends and removes everything that an agent with these options ever made on the machine: containers, sandboxes,
// links, routes, rules, cgroups, images, and its directories. It goes on after an error, and may be called again. What has
// to be the agent's own, and is not by its path, is refused before anything is touched.
func Cleanup(ctx context.Context, opts Options, log logr.Logger) error {
	if err := opts.ValidatePaths(); err != nil {
		return err
	}
	var errs []error
	step := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			return
		}
		log.Info("Removed", "what", what)
	}
	step("containers and images", cleanupRuntime(ctx, opts))
	step("shims", containerd.StopShims(ctx, opts.StateDir))
	step("volumes", volumes.Cleanup(opts.StateDir, opts.RootDir))
	step("sandboxes", cleanupSandboxes(ctx, opts))
	step("network", network.Cleanup(ctx, opts.StateDir))
	step("iptables chains", cleanupTables(ctx))
	step("cgroups", cgroup.Remove(ctx, opts.CgroupParent))
	if len(errs) == 0 { // directories say where the rest is
		step("directories", cleanupDirectories(opts))
	}
	return errors.Join(errs...)
}

func cleanupRuntime(ctx context.Context, opts Options) error {
	rt, err := openRuntime(opts)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }()
	containers, err := rt.List(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(containers))
	slots := make(chan struct{}, cleanupAtATime)
	var group sync.WaitGroup
	for i, c := range containers {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = rt.Remove(ctx, c.ID)
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return rt.Cleanup(ctx)
}

func cleanupSandboxes(ctx context.Context, opts Options) error {
	boxes, err := sandbox.New(sandbox.Options{StateDir: opts.StateDir, PauseBinary: opts.PauseBinary})
	if err != nil {
		return err
	}
	there, err := boxes.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, box := range there {
		errs = append(errs, boxes.Remove(ctx, box.PodUID))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return sandbox.Cleanup(opts.StateDir)
}

// cleanupTables cleans both kinds: the node may have used the other one before.
func cleanupTables(ctx context.Context) error {
	tables, other, err := iptables.Find(ctx, iptables.Auto)
	if err != nil {
		return err
	}
	err = tables.Cleanup(ctx)
	if other != nil {
		err = errors.Join(err, other.Cleanup(ctx))
	}
	return err
}

// cleanupDirectories removes the agent's own directories below the root directory, which others may use too, and the state
// directory. In a Pod both are mounts: they can be emptied, and stay.
func cleanupDirectories(opts Options) error {
	var errs []error
	for _, dir := range []string{"logs", "bin"} {
		errs = append(errs, os.RemoveAll(filepath.Join(opts.RootDir, dir)))
	}
	entries, err := os.ReadDir(opts.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, entry := range entries {
		if entry.Name() != claimFile { // it holds until all is done
			errs = append(errs, os.RemoveAll(filepath.Join(opts.StateDir, entry.Name())))
		}
	}
	for _, dir := range []string{opts.RootDir, opts.StateDir} {
		_ = os.Remove(dir) // if it is empty, and not a mount
	}
	return errors.Join(errs...)
}
