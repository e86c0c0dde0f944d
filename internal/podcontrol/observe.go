package podcontrol

import (
	"context"
	"errors"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/podstate"
)

// Patience is how long an owner waits for its cache before it looks at the API server itself, and when a pass that ended
// with ErrUnseen is to be repeated.
const Patience = 5 * time.Second

// ErrUnseen stops a pass without a trace: what earlier passes did is not in the cache yet, so nothing that could be
// counted now would be true.
var ErrUnseen = errors.New("the cache does not show yet what was done")

// Observed are the MiniPods that concern an owner. They are the cache's own objects and must not be changed.
type Observed struct {
	// Owned carry the owner's reference, Orphans match its selector and carry nobody's.
	Owned, Orphans []*miniv1.MiniPod
}

// All are both.
func (o Observed) All() []*miniv1.MiniPod { return slices.Concat(o.Owned, o.Orphans) }

// Observe looks at the MiniPods of an owner. It returns ErrUnseen while the cache lags behind what earlier passes did.
func (c *Control) Observe(ctx context.Context, owner client.Object, selector labels.Selector) (Observed, error) {
	// Orphans come first: one that is adopted in between is seen twice then, and not never.
	orphans, err := c.ofOwner(ctx, owner.GetNamespace(), index.Nobody, client.MatchingLabelsSelector{Selector: selector})
	if err != nil {
		return Observed{}, err
	}
	owned, err := c.Owned(ctx, owner.GetNamespace(), owner.GetUID())
	if err != nil {
		return Observed{}, err
	}
	observed := Observed{Owned: owned, Orphans: without(orphans, owned)}
	return observed, c.seen(ctx, owner, observed)
}

// Owned are the MiniPods with the reference of a controlling owner: the cache's own objects, which must not be changed.
func (c *Control) Owned(ctx context.Context, namespace string, owner types.UID) ([]*miniv1.MiniPod, error) {
	return c.ofOwner(ctx, namespace, string(owner))
}

func (c *Control) ofOwner(ctx context.Context, namespace, owner string, opts ...client.ListOption) ([]*miniv1.MiniPod, error) {
	list := &miniv1.MiniPodList{}
	if err := c.client.List(ctx, list, append(opts, client.InNamespace(namespace), client.MatchingFields{index.Owner: owner},
		client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, err
	}
	pods := make([]*miniv1.MiniPod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}

// without are those of the MiniPods that are not among the others.
func without(pods, others []*miniv1.MiniPod) []*miniv1.MiniPod {
	if len(pods) == 0 {
		return nil
	}
	there := make(map[types.UID]bool, len(others))
	for _, pod := range others {
		there[pod.UID] = true
	}
	return slices.DeleteFunc(pods, func(pod *miniv1.MiniPod) bool { return there[pod.UID] })
}

// seen returns ErrUnseen until the cache shows all that earlier passes created and deleted. A MiniPod that came and went,
// or was taken away, between two looks never shows; after a while the API server is asked whether there is one to wait for.
func (c *Control) seen(ctx context.Context, owner client.Object, observed Observed) error {
	key, cached := client.ObjectKeyFromObject(owner), map[types.UID]bool{}
	for _, pod := range observed.All() {
		cached[pod.UID] = podstate.IsDeleting(pod)
	}
	if c.expected.Satisfied(key, func(uid types.UID) (bool, bool) {
		deleting, found := cached[uid]
		return found, deleting
	}) {
		c.unseen.Delete(key)
		return nil
	}
	now := c.now()
	since, _ := c.unseen.LoadOrStore(key, now)
	if now.Sub(since.(time.Time)) < Patience {
		return ErrUnseen
	}
	return c.seenLive(ctx, owner, cached)
}

func (c *Control) seenLive(ctx context.Context, owner client.Object, cached map[types.UID]bool) error {
	list := &miniv1.MiniPodList{}
	if err := c.live.List(ctx, list, client.InNamespace(owner.GetNamespace())); err != nil {
		return err
	}
	exists := map[types.UID]bool{}
	for i := range list.Items {
		exists[list.Items[i].UID] = metav1.IsControlledBy(&list.Items[i], owner)
	}
	key := client.ObjectKeyFromObject(owner)
	if c.expected.Satisfied(key, func(uid types.UID) (bool, bool) {
		deleting, found := cached[uid]
		gone := !found && !exists[uid]
		return found || gone, deleting || gone
	}) {
		c.unseen.Delete(key)
		return nil
	}
	return ErrUnseen
}
