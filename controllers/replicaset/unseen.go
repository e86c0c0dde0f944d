package replicaset

import (
	"context"
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// patience is how long a set waits for its cache before it looks at the API server itself.
const patience = 5 * time.Second

// errUnseen stops a pass without a trace: what earlier passes did is not in the cache yet, so nothing that could be
// counted now would be true.
var errUnseen = errors.New("the cache does not show yet what was done")

// seen returns errUnseen until the cache shows all that earlier passes created and deleted. A MiniPod that came and went,
// or was taken away, between two looks never shows; after a while the API server is asked whether there is one to wait for.
func (r *Reconciler) seen(ctx context.Context, s *scope) error {
	cached := map[types.UID]bool{}
	for _, pod := range s.observed() {
		cached[pod.UID] = podstate.IsDeleting(pod)
	}
	if r.expected.Satisfied(s.key, func(uid types.UID) (bool, bool) {
		deleting, found := cached[uid]
		return found, deleting
	}) {
		r.unseen.Delete(s.key)
		return nil
	}
	since, _ := r.unseen.LoadOrStore(s.key, s.now)
	if s.now.Sub(since.(time.Time)) < patience {
		return errUnseen
	}
	return r.seenLive(ctx, s, cached)
}

func (r *Reconciler) seenLive(ctx context.Context, s *scope, cached map[types.UID]bool) error {
	list := &miniv1.MiniPodList{}
	if err := r.live.List(ctx, list, client.InNamespace(s.key.Namespace)); err != nil {
		return err
	}
	exists := map[types.UID]bool{}
	for i := range list.Items {
		exists[list.Items[i].UID] = metav1.IsControlledBy(&list.Items[i], s.set)
	}
	if r.expected.Satisfied(s.key, func(uid types.UID) (bool, bool) {
		deleting, found := cached[uid]
		gone := !found && !exists[uid]
		return found || gone, deleting || gone
	}) {
		r.unseen.Delete(s.key)
		return nil
	}
	return errUnseen
}
