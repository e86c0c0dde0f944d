package deployment_test

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/deployment"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/fresh"
)

// New reconcilers at every step, as if the manager crashed each time: the rollout goes on all the same.
func TestCrashAtEveryStep(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 6)
	w.settle(d)
	w.least, w.most = 5, 8
	w.edit(d, image("v2"))
	for w.step(d) {
		w.restart()
	}
	w.wantRunning("v2:6@2")
}

// The connection breaks between any two writes of a rollout.
func TestCrashBetweenWrites(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 4)
	w.settle(d)
	w.least, w.most = 3, 5
	w.edit(d, image("v2"))
	for writes := range 4 {
		breaking := &breaking{Client: fresh.Client(w.Client), left: writes}
		r := deployment.NewReconciler(breaking, w.Client, w.events, func() time.Time { return w.time })
		if _, err := r.Reconcile(t.Context(), request(d)); err == nil && breaking.left < 0 {
			t.Errorf("a break after %d writes is not reported", writes)
		}
		w.check(d)
	}
	w.restart()
	w.settle(d)
	w.wantRunning("v2:4@2")
}

// breaking is a connection on which only so many writes succeed.
type breaking struct {
	client.Client
	left int
}

func (b *breaking) write() error {
	b.left--
	if b.left < 0 {
		return apierrors.NewServiceUnavailable("connection lost")
	}
	return nil
}

func (b *breaking) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if err := b.write(); err != nil {
		return err
	}
	return b.Client.Create(ctx, o, opts...)
}

func (b *breaking) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	if err := b.write(); err != nil {
		return err
	}
	return b.Client.Patch(ctx, o, patch, opts...)
}

// Events follow a status that was stored.
func TestNoEventWithoutStatus(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 1)
	r := deployment.NewReconciler(statusless{fresh.Client(w.Client)}, w.Client, w.events, func() time.Time { return w.time })
	if _, err := r.Reconcile(t.Context(), request(d)); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("the status was not stored, and that is %v", err)
	}
	w.wantEvents()
}

// statusless is a connection on which no status can be written.
type statusless struct{ client.Client }

func (s statusless) Status() client.SubResourceWriter { return refusing{s.Client.Status()} }

type refusing struct{ client.SubResourceWriter }

func (refusing) Patch(context.Context, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	return apierrors.NewServiceUnavailable("connection lost")
}

// A cache that lags behind its own last pass does nothing twice: the set's name is taken, or its version is another.
func TestStaleCache(t *testing.T) {
	w := newWorld(t)
	d := w.deployment("web", 4)
	cache := &stale{Client: fresh.Client(w.Client)}
	r := deployment.NewReconciler(cache, w.Client, w.events, func() time.Time { return w.time })
	pass := func() time.Duration {
		t.Helper()
		result, err := r.Reconcile(t.Context(), request(d))
		w.must(err)
		return result.RequeueAfter
	}
	cache.sets = &miniv1.MiniReplicaSetList{}
	pass()
	if pass(); len(w.all()) != 1 {
		t.Fatalf("%d sets", len(w.all()))
	}
	if w.read(d); d.Status.CollisionCount != nil {
		t.Errorf("counts a collision with itself: %d", *d.Status.CollisionCount)
	}
	cache.sets = nil
	w.settle(d)

	w.edit(d, scale(8))
	cache.sets = &miniv1.MiniReplicaSetList{}
	w.must(w.List(t.Context(), cache.sets, client.InNamespace(w.namespace)))
	pass()
	version := w.all()[0].ResourceVersion
	if after := pass(); after == 0 || w.all()[0].ResourceVersion != version {
		t.Errorf("wrote an outdated set, or does not look again (after %v)", after)
	}
}

type stale struct {
	client.Client
	sets *miniv1.MiniReplicaSetList
}

func (s *stale) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	sets, ok := list.(*miniv1.MiniReplicaSetList)
	if !ok || s.sets == nil {
		return s.Client.List(ctx, list, opts...)
	}
	var all client.ListOptions
	all.ApplyOptions(opts)
	for i := range s.sets.Items {
		owner := index.Nobody
		if ref := metav1.GetControllerOf(&s.sets.Items[i]); ref != nil {
			owner = string(ref.UID)
		}
		if all.FieldSelector == nil || all.FieldSelector.Requirements()[0].Value == owner {
			sets.Items = append(sets.Items, *s.sets.Items[i].DeepCopy())
		}
	}
	return nil
}
