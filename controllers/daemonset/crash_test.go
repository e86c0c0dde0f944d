package daemonset_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/fresh"
)

// The manager dies at every write, one after the other, of the first MiniPods, of updates in place and beside, of a rollback and of what nodes
// do: what comes after it goes on, and ends in the same state.
func TestDiesAtEveryWrite(t *testing.T) {
	w := newWorld(t, "a", "b")
	set := w.set("web", rolling(0, 1))
	for _, act := range []struct {
		what string
		do   func()
		want string
	}{
		{"first", func() {}, "a:v1 b:v1"},
		{"in place", func() { w.edit(set, image("v2")) }, "a:v2 b:v2"},
		{"beside", func() { w.edit(set, rolling(1, 0)); w.edit(set, image("v3")) }, "a:v3 b:v3"},
		{"back", func() { w.edit(set, image("v2")) }, "a:v2 b:v2"},
		{"taint", func() { w.taint("a", corev1.TaintEffectNoExecute) }, "b:v2"},
		{"no taint", func() { w.patchNode("a", `{"spec":{"taints":null}}`) }, "a:v2 b:v2"},
	} {
		act.do()
		for range 100 {
			before := w.versions()
			for writes := range 3 { // each pass dies once at each of its writes, and does one more every time
				breaking := &breaking{Client: fresh.Client(w.Client), left: writes}
				w.restart(breaking)
				if _, err := w.reconciler.Reconcile(t.Context(), request(set)); err == nil && breaking.left < 0 {
					t.Errorf("%s: a break after %d writes is not reported", act.what, writes)
				}
				w.check()
			}
			w.movePods()
			w.time = w.time.Add(time.Second)
			if fmt.Sprint(before) == fmt.Sprint(w.versions()) {
				break
			}
		}
		w.restart(fresh.Client(w.Client))
		w.settle(set)
		if got := w.there(); got != act.want {
			t.Fatalf("%s: there is %q, want %q", act.what, got, act.want)
		}
	}
	var numbers []int64
	for _, revision := range w.revisions() {
		numbers = append(numbers, revision.Revision)
	}
	if want := []int64{1, 3, 4}; fmt.Sprint(numbers) != fmt.Sprint(want) {
		t.Errorf("revisions %v, want %v", numbers, want)
	}
	w.wantCounts(set, 2, 2, 2, 2, 2, 0)
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

func (b *breaking) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	if err := b.write(); err != nil {
		return err
	}
	return b.Client.Delete(ctx, o, opts...)
}

func (b *breaking) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	if err := b.write(); err != nil {
		return err
	}
	return b.Client.Patch(ctx, o, patch, opts...)
}

func (b *breaking) Status() client.SubResourceWriter { return statusOf{b.Client.Status(), b} }

type statusOf struct {
	client.SubResourceWriter
	b *breaking
}

func (s statusOf) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	if err := s.b.write(); err != nil {
		return err
	}
	return s.SubResourceWriter.Patch(ctx, o, patch, opts...)
}

// What may not be created holds up no deletion, and is told of.
func TestRefusedCreation(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web")
	w.settle(set)
	w.node("b")
	w.taint("a", corev1.TaintEffectNoExecute)
	w.restart(refusing{fresh.Client(w.Client)})
	if _, err := w.reconciler.Reconcile(t.Context(), request(set)); !apierrors.IsForbidden(err) {
		t.Errorf("the refusal is %v", err)
	}
	w.wantThere("a:v1-")
	w.read(set)
	if condition(set, miniv1.ConditionReplicaFailure) != "True/FailedCreate" {
		t.Errorf("%+v", set.Status.Conditions)
	}
	w.wantEvent("FailedCreate")
	w.restart(fresh.Client(w.Client))
	w.settle(set)
	w.wantThere("b:v1")
	if condition(set, miniv1.ConditionReplicaFailure) != "" {
		t.Errorf("%+v", set.Status.Conditions)
	}
}

type refusing struct{ client.Client }

func (r refusing) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if _, ok := o.(*miniv1.MiniPod); ok {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "minipods"}, o.GetName(), fmt.Errorf("exceeded quota"))
	}
	return r.Client.Create(ctx, o, opts...)
}

// frozen is a cache that lags: from freeze to thaw it shows the MiniPods of that moment.
type frozen struct {
	client.Client
	pods *miniv1.MiniPodList
	// forgetful: no revision is shown.
	forgetful bool
}

func (f *frozen) freeze(w *world) {
	w.Helper()
	f.pods = &miniv1.MiniPodList{}
	w.must(w.List(w.Context(), f.pods, client.InNamespace(w.namespace)))
}

func (f *frozen) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*appsv1.ControllerRevisionList); ok && f.forgetful {
		return nil
	}
	pods, ok := list.(*miniv1.MiniPodList)
	if !ok || f.pods == nil {
		return f.Client.List(ctx, list, opts...)
	}
	var all client.ListOptions
	all.ApplyOptions(opts)
	for i := range f.pods.Items {
		pod := &f.pods.Items[i]
		owner := index.Nobody
		if ref := metav1.GetControllerOf(pod); ref != nil {
			owner = string(ref.UID)
		}
		if all.FieldSelector == nil || all.FieldSelector.Requirements()[0].Value == owner {
			pods.Items = append(pods.Items, *pod.DeepCopy())
		}
	}
	return nil
}

// However often a set is looked at before the cache shows what was done, it is done once.
func TestStaleCache(t *testing.T) {
	w := newWorld(t, "a", "b")
	cache := &frozen{Client: fresh.Client(w.Client)}
	w.restart(cache)
	set := w.set("web")
	cache.freeze(w)
	for range 3 {
		w.pass(set)
	}
	w.wantThere("a:v1? b:v1?")
	cache.pods = nil
	w.settle(set)

	w.edit(set, image("v2"))
	cache.freeze(w)
	for i := range 3 {
		if again := w.pass(set).RequeueAfter; i > 0 && again == 0 {
			t.Error("does not look again")
		}
	}
	w.wantThere("a:v1- b:v1")
	cache.pods = nil
	w.settle(set)
	w.wantThere("a:v2 b:v2")
}

// A cache that does not show the revision yet makes neither another nor a new name of it.
func TestStaleRevisions(t *testing.T) {
	w := newWorld(t, "a")
	w.restart(&frozen{Client: fresh.Client(w.Client), forgetful: true})
	set := w.set("web")
	w.settle(set)
	w.wantThere("a:v1")
	w.wantCounts(set, 1, 1, 1, 1, 1, 0)
	if got := w.revisions(); len(got) != 1 || set.Status.CollisionCount != nil {
		t.Errorf("%d revisions, %+v", len(got), set.Status)
	}
}

// A revision that somebody's finalizer keeps from going is waited for, at the pace of errors, and people are told.
func TestRevisionThatCannotGo(t *testing.T) {
	w := newWorld(t, "a")
	set := w.set("web")
	w.settle(set)
	revision := w.revisions()[0]
	revision.Finalizers = []string{"example.com/held"}
	w.must(w.Update(t.Context(), revision))
	w.must(w.Delete(t.Context(), revision))
	if result, err := w.reconciler.Reconcile(t.Context(), request(set)); err == nil || !strings.Contains(err.Error(), "example.com/held") {
		t.Errorf("%+v, %v", result, err)
	}
	w.read(set)
	if condition(set, miniv1.ConditionReplicaFailure) != "True/FailedCreate" {
		t.Errorf("%+v", set.Status.Conditions)
	}
	held := w.revisions()[0]
	held.Finalizers = nil
	w.must(w.Update(t.Context(), held))
	w.settle(set)
	if got := w.revisions(); len(got) != 1 || got[0].UID == revision.UID || condition(set, miniv1.ConditionReplicaFailure) != "" {
		t.Errorf("%+v, %+v", got, set.Status.Conditions)
	}
	w.wantThere("a:v1")
}
