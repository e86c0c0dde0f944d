package replicaset_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/replicaset"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/fresh"
	"miniplane.dev/miniplane/test/testenv"
)

// frozen is a cache that lags: from freeze to thaw it shows the MiniPods of that moment, and, if given, the set.
type frozen struct {
	client.Client
	pods *miniv1.MiniPodList
	set  *miniv1.MiniReplicaSet
}

func (f *frozen) freeze(w *world) {
	w.Helper()
	f.pods = &miniv1.MiniPodList{}
	w.must(w.List(w.Context(), f.pods, client.InNamespace(w.namespace)))
}

func (f *frozen) thaw() { f.pods, f.set = nil, nil }

func (f *frozen) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if set, ok := o.(*miniv1.MiniReplicaSet); ok && f.set != nil {
		f.set.DeepCopyInto(set)
		return nil
	}
	return f.Client.Get(ctx, key, o, opts...)
}

func (f *frozen) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
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
		if all.FieldSelector != nil && all.FieldSelector.Requirements()[0].Value != owner {
			continue
		}
		pods.Items = append(pods.Items, *pod.DeepCopy())
	}
	return nil
}

// However often a set is looked at before the cache shows what was done, it is done once.
func TestStaleCache(t *testing.T) {
	w := newWorld(t)
	cache := &frozen{Client: fresh.Client(w.Client)}
	w.restart(cache)
	set := w.set("web", 5)
	cache.freeze(w)
	for range 4 {
		_, err := w.pass(set)
		w.must(err)
	}
	if got := len(w.pods()); got != 5 {
		t.Fatalf("%d MiniPods, want 5", got)
	}
	cache.thaw()
	w.settle(set)

	cache.freeze(w)
	w.scale(set, 2)
	for range 4 {
		_, err := w.pass(set)
		w.must(err)
	}
	if got := len(w.active()); got != 2 {
		t.Errorf("%d MiniPods are left, want 2", got)
	}
	cache.thaw()
	w.settle(set)
	w.wantCounts(set, 2)
}

// A pass that cannot see what was done before writes no status: its counts would be wrong.
func TestStaleCacheWritesNoStatus(t *testing.T) {
	w := newWorld(t)
	cache := &frozen{Client: fresh.Client(w.Client)}
	w.restart(cache)
	set := w.set("web", 3)
	cache.freeze(w)
	_, err := w.pass(set)
	w.must(err)
	w.scale(set, 0)
	result, err := w.pass(set)
	w.must(err)
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(set), set))
	if set.Status.ObservedGeneration == set.Generation || result.RequeueAfter == 0 {
		t.Errorf("claims to have seen generation %d; %+v", set.Generation, result)
	}
}

// A MiniPod that came and went before the cache showed it must not hold up its set.
func TestGoneBeforeSeen(t *testing.T) {
	w := newWorld(t)
	cache := &frozen{Client: fresh.Client(w.Client)}
	w.restart(cache)
	set := w.set("web", 2)
	cache.freeze(w)
	_, err := w.pass(set)
	w.must(err)
	w.must(w.Delete(t.Context(), w.pods()[0]))
	w.bury()
	cache.thaw()
	_, err = w.pass(set)
	w.must(err)
	if got := len(w.pods()); got != 1 {
		t.Fatalf("%d MiniPods; it should wait for its cache", got)
	}
	w.time = w.time.Add(time.Minute)
	w.settle(set)
	if got := len(w.pods()); got != 2 {
		t.Errorf("%d MiniPods, want 2", got)
	}
}

// While the API server has what the cache has not, waiting goes on, however long it takes.
func TestPatience(t *testing.T) {
	w := newWorld(t)
	cache := &frozen{Client: fresh.Client(w.Client)}
	w.restart(cache)
	set := w.set("web", 2)
	cache.freeze(w)
	for range 4 {
		_, err := w.pass(set)
		w.must(err)
		w.time = w.time.Add(time.Minute)
	}
	if got := len(w.pods()); got != 2 {
		t.Errorf("%d MiniPods, want 2", got)
	}
}

// A new process remembers nothing, and goes on where the old one stopped.
func TestCrashInTheMiddle(t *testing.T) {
	w := newWorld(t)
	set := w.set("web", 20)
	breaking := &breaking{Client: fresh.Client(w.Client), after: 6}
	w.restart(breaking)
	if _, err := w.pass(set); err == nil {
		t.Fatal("the broken connection is not reported")
	}
	if got := len(w.pods()); got == 0 || got == 20 {
		t.Fatalf("%d MiniPods after the crash", got)
	}
	w.restart(fresh.Client(w.Client))
	w.settle(set)
	if got := len(w.pods()); got != 20 {
		t.Errorf("%d MiniPods, want 20", got)
	}
}

// breaking is a connection that breaks after so many creations.
type breaking struct {
	client.Client
	after int32
	made  atomic.Int32
}

func (b *breaking) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if b.made.Add(1) > b.after {
		return fmt.Errorf("connection lost")
	}
	return b.Client.Create(ctx, o, opts...)
}

// With the real cache and watches: a thousand at once, replacement, and back to nothing.
func TestManager(t *testing.T) {
	w := newWorld(t)
	testenv.StartManager(t, func(mgr ctrl.Manager) error { return replicaset.Setup(mgr, replicaset.Options{}) })
	set := w.set("web", 0)
	start := time.Now()
	w.scale(set, 1000)
	w.eventually(set, 1000)
	t.Logf("0 -> 1000 in %v", time.Since(start))

	pod := w.pods()[0]
	w.must(w.Delete(t.Context(), pod))
	w.bury()
	w.eventually(set, 1000)

	loose := w.pods()[0]
	w.must(w.Patch(t.Context(), loose, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app":"debug"}}}`))))
	testenv.Eventually(t, func() string {
		w.must(w.Get(t.Context(), client.ObjectKeyFromObject(loose), loose))
		if n := len(w.pods()); n != 1001 || len(loose.OwnerReferences) != 0 {
			return fmt.Sprintf("%d MiniPods, owners %v", n, loose.OwnerReferences)
		}
		return ""
	})
	// Back among the others, it is adopted, and one is too many.
	w.must(w.Patch(t.Context(), loose, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app":"web"}}}`))))
	w.eventually(set, 1000)

	start = time.Now()
	w.scale(set, 0)
	w.eventually(set, 0)
	t.Logf("1000 -> 0 in %v", time.Since(start))
	if n := len(w.active()); n != 0 {
		t.Errorf("%d MiniPods left", n)
	}
}

func (w *world) eventually(set *miniv1.MiniReplicaSet, n int32) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		w.must(w.Get(w.Context(), client.ObjectKeyFromObject(set), set))
		if set.Status.Replicas != n || set.Status.ObservedGeneration != set.Generation {
			return fmt.Sprintf("%d replicas in the status, want %d", set.Status.Replicas, n)
		}
		return ""
	})
}
