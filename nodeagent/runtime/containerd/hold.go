package containerd

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// labelHolder of a lease says for whom it keeps layers of images that are mounted. Unlike those of labelLease it is no agent's, and outlives agents, containerd
// and the machine's boots: who it was for is asked for by Holders.
const labelHolder = labelPrefix + "holder"

// Where a mounted image has what it must not have.
const imageFlags = unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV

// MountImage implements runtime.Runtime. Its layers are kept before they are mounted: the kernel does not hold what containerd removes.
func (r *Runtime) MountImage(ctx context.Context, holder string, image runtime.Image, target string) error {
	if len(image.Names) == 0 {
		return fmt.Errorf("an image without a name: %w", errdefs.ErrInvalidArgument)
	}
	facts, err := r.lookupFor(ctx, &runtime.ContainerSpec{Image: image.Names[0], ImageID: image.ID})
	if err != nil {
		return err
	}
	if err := r.hold(ctx, holder, facts); err != nil {
		return fmt.Errorf("keep image %q: %w", image.Names[0], err)
	}
	return r.viewOf(ctx, "miniplane-image", facts, func(mounts []mount.Mount) error {
		return r.OnMachine(func() error {
			for _, m := range mounts {
				if err := mountRead(m, target); err != nil {
					return fmt.Errorf("mount image %q: %w", image.Names[0], err)
				}
			}
			return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|imageFlags, "")
		})
	})
}

// hold keeps an image's layers until Release. Those that were collected just before are found missing after.
func (r *Runtime) hold(ctx context.Context, holder string, facts *imageFacts) error {
	ctx = r.ns(ctx)
	lease := leases.Lease{ID: "miniplane-holder-" + holder}
	_, err := r.client.LeasesService().Create(ctx, leases.WithID(lease.ID), leases.WithLabel(labelHolder, holder))
	if err = native(err); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	err = r.client.LeasesService().AddResource(ctx, lease, leases.Resource{ID: facts.chainID, Type: "snapshots/" + snapshotter})
	if err = native(err); err == nil {
		_, err = r.snaps.Stat(ctx, facts.chainID)
		err = native(err)
	}
	if errdefs.IsNotFound(err) {
		r.images.forget(facts) // and the next try unpacks it anew
	}
	return err
}

// Release implements runtime.Runtime.
func (r *Runtime) Release(ctx context.Context, holder string) error {
	return ignore(native(r.client.LeasesService().Delete(r.ns(ctx), leases.Lease{ID: "miniplane-holder-" + holder})))
}

// Holders implements runtime.Runtime.
func (r *Runtime) Holders(ctx context.Context) ([]string, error) {
	held, err := r.client.LeasesService().List(r.ns(ctx), fmt.Sprintf("labels.%q", labelHolder))
	if err != nil {
		return nil, fmt.Errorf("leases: %w", native(err))
	}
	var out []string
	for _, lease := range held {
		if holder := lease.Labels[labelHolder]; holder != "" {
			out = append(out, holder)
		}
	}
	slices.Sort(out)
	return out, nil
}
