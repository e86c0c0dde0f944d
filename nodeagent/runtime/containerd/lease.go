package containerd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
)

// labelLease of a lease says which agent has it, by a name that each gives itself anew when it begins. Others have leases in the namespace
// too, as who imports an image, and theirs have no such label.
const labelLease = labelPrefix + "agent"

// leaseTime is enough for a large image from a slow registry. It is only waited for where no agent comes after the one that died.
const leaseTime = 24 * time.Hour

// lease keeps what is made under the context it returns from being collected, until done is called.
func (r *Runtime) lease(ctx context.Context) (context.Context, func(), error) {
	lease, err := r.client.LeasesService().Create(r.ns(ctx), leases.WithRandomID(), leases.WithExpiration(leaseTime), leases.WithLabel(labelLease, r.name))
	if err != nil {
		return nil, nil, native(err)
	}
	done := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // the next agent does it, if this fails
		defer cancel()
		_ = r.client.LeasesService().Delete(r.ns(ctx), lease)
	}
	return leases.WithLease(r.ns(ctx), lease.ID), done, nil
}

// release gives back, once, the leases of earlier agents. One that died in the middle of a pull or a start left its lease, which would
// keep layers and content from being collected for a day. The namespace is one agent's at a time, so that they have no holder.
func (r *Runtime) release(ctx context.Context) error {
	r.mu.Lock()
	done := r.released
	r.mu.Unlock()
	if done {
		return nil
	}
	ctx = r.ns(ctx)
	held, err := r.client.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("leases: %w", native(err))
	}
	for _, lease := range held {
		if agent := lease.Labels[labelLease]; agent == "" || agent == r.name {
			continue
		}
		if err := r.client.LeasesService().Delete(ctx, lease); ignore(native(err)) != nil {
			return fmt.Errorf("lease %s: %w", lease.ID, native(err))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = true
	return nil
}
