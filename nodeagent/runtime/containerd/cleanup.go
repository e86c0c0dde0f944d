package containerd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

// cleanupPatience is how long containerd may take to collect what nothing refers to any more.
const cleanupPatience = 30 * time.Second

// Cleanup removes the namespace from containerd, with its images, their layers and their content. Containers must have been
// removed before; FailedPrecondition says what is still there.
func (r *Runtime) Cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(r.ns(ctx), cleanupPatience)
	defer cancel()
	list, err := r.client.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("images: %w", native(err))
	}
	for _, image := range list {
		if err := r.client.ImageService().Delete(ctx, image.Name); ignore(native(err)) != nil {
			return fmt.Errorf("image %s: %w", image.Name, native(err))
		}
	}
	held, err := r.client.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("leases: %w", native(err))
	}
	for _, lease := range held {
		if err := r.client.LeasesService().Delete(ctx, lease); ignore(native(err)) != nil {
			return fmt.Errorf("lease %s: %w", lease.ID, native(err))
		}
	}
	// What nothing refers to any more, containerd's collector removes, in turns: blobs, layers, layers below them.
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err := r.collect(ctx); err != nil {
			return err
		}
		err := native(r.client.NamespaceService().Delete(ctx, r.opts.Namespace))
		if !errdefs.IsFailedPrecondition(err) {
			return ignore(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("namespace %s of containerd: %w: %w", r.opts.Namespace, ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// collect has containerd collect garbage now, and waits for it: a synchronous deletion does, of whatever.
func (r *Runtime) collect(ctx context.Context) error {
	lease, err := r.client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		return fmt.Errorf("collecting what images left: %w", native(err))
	}
	if err := r.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("collecting what images left: %w", native(err))
	}
	return nil
}
