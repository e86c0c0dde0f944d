package podcontrol

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/adopt"
	"miniplane.dev/miniplane/internal/claim"
)

const (
	// Burst is how many MiniPods one pass should create or delete at most, so that the status follows.
	Burst = 1000
	// inFlight is how many requests of one pass are under way at a time.
	inFlight = 64
)

// Settle adopts and releases MiniPods, and returns those that belong to the owner then.
func (c *Control) Settle(ctx context.Context, owner client.Object, claims claim.Claims[*miniv1.MiniPod]) ([]*miniv1.MiniPod, error) {
	return adopt.Settle(ctx, adopt.Owner{Client: c.client, Live: c.live, Object: owner, Kind: c.kind, Finalizer: c.tracker}, claims)
}

// Create makes n MiniPods for the owner, in batches that double as long as all goes well: next makes one after the other, and
// created is told of those that are there. In a namespace that is going away nothing is created any more; that is no error, as
// the owner goes with it.
func (c *Control) Create(ctx context.Context, owner client.Object, n int, next func() *miniv1.MiniPod, created func(*miniv1.MiniPod)) error {
	key := client.ObjectKeyFromObject(owner)
	for size := range Batches(n) {
		pods := make([]*miniv1.MiniPod, size)
		for i := range pods {
			pods[i] = next()
		}
		err := InParallel(pods, func(pod *miniv1.MiniPod) error {
			if err := c.client.Create(ctx, pod); err != nil {
				return err
			}
			c.expected.ExpectCreated(key, pod.UID)
			return nil
		}, created)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete removes MiniPods of the owner, each only if it is the very one that was seen. Deleted is told of those that are gone or
// going.
func (c *Control) Delete(ctx context.Context, owner client.Object, pods []*miniv1.MiniPod, deleted func(*miniv1.MiniPod)) error {
	key := client.ObjectKeyFromObject(owner)
	return InParallel(pods, func(pod *miniv1.MiniPod) error {
		uid := pod.UID
		err := c.client.Delete(ctx, pod, client.Preconditions{UID: &uid})
		if err == nil {
			c.expected.ExpectDeleted(key, uid)
		}
		return client.IgnoreNotFound(err)
	}, deleted)
}

// InParallel does one thing to all MiniPods, and calls done, one at a time, for those it succeeded with. It returns the first
// error.
func InParallel(pods []*miniv1.MiniPod, do func(*miniv1.MiniPod) error, done func(*miniv1.MiniPod)) error {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first error
		slots = make(chan struct{}, inFlight)
	)
	for _, pod := range pods {
		slots <- struct{}{}
		all.Go(func() {
			err := do(pod)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done(pod)
			} else if first == nil {
				first = err
			}
		})
	}
	all.Wait()
	return first
}
