package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// flapLink takes the link of the first node down. When it is up again, the default route is set by the fault: it is the machine's own,
// and not the product's to restore.
func flapLink(ctx context.Context, w *world) (undo, error) {
	node := w.nodes[0]
	route, err := w.command(ctx, "exec", node, "ip route show default")
	if err != nil {
		return nil, err
	}
	back := func(ctx context.Context) error {
		_, err := w.command(ctx, "exec", node, "ip link set eth0 up && ip route replace "+strings.TrimSpace(route))
		return err
	}
	_, err = w.command(ctx, "exec", node, "ip link set eth0 down")
	return back, err
}

// fill makes a fault of a full file system: it is made as small as what is in it, so that not a byte more fits. It must be one of its own
// and in memory: neither the machine's disk nor its /run is anybody's to fill.
func fill(dir string) func(context.Context, *world) (undo, error) {
	return func(context.Context, *world) (undo, error) {
		if !ownTmpfs(dir) {
			return nil, fmt.Errorf("%s is not a file system in memory of its own", dir)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return nil, err
		}
		resize := func(blocks uint64) error {
			err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d", blocks*uint64(fs.Bsize)))
			if err != nil {
				return fmt.Errorf("another size for %s: %w", dir, err)
			}
			return nil
		}
		back := func(context.Context) error { return resize(fs.Blocks) }
		if err := resize(max(1, fs.Blocks-fs.Bfree)); err != nil {
			return back, err
		}
		return back, isFull(dir)
	}
}

// isFull is nil when nothing fits into a file system any more. What was freed meanwhile is taken by a file that is removed again.
func isFull(dir string) error {
	file, err := os.CreateTemp(dir, "full-")
	if err != nil {
		return nil // not even a name fits
	}
	defer func() { _, _ = file.Close(), os.Remove(file.Name()) }()
	const most = 1 << 20
	if n, err := file.Write(make([]byte, most)); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%d bytes fit into %s, which should be full: %w", n, dir, err)
	}
	return nil
}

// ownTmpfs tells whether a directory is where a tmpfs is mounted.
func ownTmpfs(dir string) bool {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	kind := ""
	for line := range strings.SplitSeq(string(data), "\n") {
		fields := strings.Fields(line)
		if i := slices.Index(fields, "-"); i > 4 && fields[4] == dir && len(fields) > i+1 {
			kind = fields[i+1] // the last one covers the others
		}
	}
	return kind == "tmpfs"
}

// hog runs a MiniPod that takes without end what its shell script takes.
func hog(limits corev1.ResourceList, script string) func(context.Context, *world) (undo, error) {
	return func(ctx context.Context, w *world) (undo, error) {
		set := deployment(w.wild, "hog", 1, imageQuiet, "sh", "-c", script)
		set.Spec.Template.Spec.Containers[0].Resources = miniv1.ResourceRequirements{Limits: limits}
		return func(ctx context.Context) error { return w.remove(ctx, set) }, w.api.Create(ctx, set)
	}
}

// hogEnded waits until the kernel has ended the hog at least once, which takes long on a busy machine.
func hogEnded(ctx context.Context, w *world) error {
	return eventually(ctx, patience, "the MiniPod that takes memory does no harm", func() error {
		pods, err := w.minipods(ctx, w.wild)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			for _, c := range pod.Status.ContainerStatuses {
				if c.RestartCount > 0 || c.State.Terminated != nil {
					return nil
				}
			}
		}
		return errors.New("it was never ended")
	})
}

// hogForked is nil when the fork bomb has many processes.
func hogForked(ctx context.Context, w *world) error {
	const many = 50
	pods, err := w.minipods(ctx, w.wild)
	if err != nil {
		return err
	}
	most := 0
	for _, pod := range pods {
		for _, parent := range w.kernel.parents {
			groups, _ := filepath.Glob(filepath.Join(hierarchy(), parent, "pod"+string(pod.UID), "*", "cgroup.procs"))
			for _, group := range groups {
				data, _ := os.ReadFile(group)
				most = max(most, len(bytes.Fields(data)))
			}
		}
	}
	if most < many {
		return fmt.Errorf("the fork bomb has %d processes: it did no harm", most)
	}
	return nil
}

const (
	// eatMemory doubles a string for ever.
	eatMemory = `x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done`
	// forkBomb has two children for each process.
	forkBomb = `f() { f | f & }; f; sleep 1000`
)

func limits(cpu, memory string) corev1.ResourceList {
	out := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	if memory != "" {
		out[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return out
}
