package job_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/job"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/fresh"
)

// The manager dies before each of its writes, one after the other, and another goes on, which remembers nothing: every MiniPod counts
// once.
func TestCrashAtEveryWrite(t *testing.T) {
	limit := int32(2)
	for name, edit := range map[string]func(*miniv1.MiniJobSpec){
		"plain":     func(s *miniv1.MiniJobSpec) { s.BackoffLimit = new(int32); *s.BackoffLimit = 100 },
		"indexed":   func(s *miniv1.MiniJobSpec) { indexed(s); s.BackoffLimit = new(int32); *s.BackoffLimit = 100 },
		"per index": func(s *miniv1.MiniJobSpec) { indexed(s); s.BackoffLimitPerIndex = &limit },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := w.job("work", 4, 3, edit)
			failed, deaths := 0, 0
			for j.Status.Summary != miniv1.ConditionComplete {
				for budget := int32(0); ; budget++ {
					broken := &breaking{Client: fresh.Client(w.Client)}
					broken.left.Store(budget)
					w.restart(broken)
					if _, err := w.pass(j); err == nil {
						break
					}
					if deaths++; deaths > 300 {
						t.Fatalf("does not end: %+v", j.Status)
					}
				}
				w.read(j)
				w.bury()
				// One ends after the other; the first three fail.
				if active := w.active(); len(active) > 0 {
					code := int32(0)
					if first := active[0].Annotations[batchv1.JobIndexFailureCountAnnotation]; failed < 3 && (first == "" || first == "0") {
						code = 1
						failed++
					}
					w.end(active[0], code)
				}
				w.time = w.time.Add(10 * time.Minute)
			}
			w.want(j, fmt.Sprintf("Complete 4/4 active=0 failed=%d", failed))
			ended := map[miniv1.MiniPodPhase]int{}
			for _, pod := range w.pods() {
				ended[pod.Status.Phase]++
			}
			if ended[miniv1.PodSucceeded] != 4 || ended[miniv1.PodFailed] != failed || deaths < 10 {
				t.Errorf("MiniPods %v; it died %d times", ended, deaths)
			}
		})
	}
}

// Also where it fails: what was ended is counted as failed, once.
func TestCrashWhileItFails(t *testing.T) {
	for budget := range int32(14) {
		w := newWorld(t)
		j := w.job("work", 6, 4, func(s *miniv1.MiniJobSpec) { s.BackoffLimit = new(int32) })
		w.settle(j)
		w.end(w.pods()[0], 0)
		w.end(w.pods()[1], 1)
		for _, pod := range w.pods()[2:] {
			w.run(pod)
		}
		broken := &breaking{Client: fresh.Client(w.Client)}
		broken.left.Store(budget)
		w.restart(broken)
		_, _ = w.pass(j)
		w.restart(fresh.Client(w.Client))
		w.settle(j)
		w.want(j, "Failed 1/6 active=0 failed=3")
	}
}

// breaking is a connection on which only so many writes succeed.
type breaking struct {
	client.Client
	left atomic.Int32
	// before, if any, happens before each write of a status.
	before func()
}

func (b *breaking) write() error {
	if b.left.Add(-1) < 0 {
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

func (b *breaking) Status() client.SubResourceWriter { return status{b.Client.Status(), b} }

type status struct {
	client.SubResourceWriter
	b *breaking
}

func (s status) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	if s.b.before != nil {
		s.b.before()
	}
	if err := s.b.write(); err != nil {
		return err
	}
	return s.SubResourceWriter.Patch(ctx, o, patch, opts...)
}

// lagging is a cache that shows the MiniPods, and the MiniJob, of an earlier moment, where they are given.
type lagging struct {
	client.Client
	pods *miniv1.MiniPodList
	job  *miniv1.MiniJob
}

func (l *lagging) freeze(w *world, j *miniv1.MiniJob, pods bool) {
	w.Helper()
	l.job, l.pods = nil, nil
	if j != nil {
		w.read(j)
		l.job = j.DeepCopy()
	}
	if pods {
		l.pods = &miniv1.MiniPodList{}
		w.must(w.List(w.Context(), l.pods, client.InNamespace(w.namespace)))
	}
}

func (l *lagging) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if j, ok := o.(*miniv1.MiniJob); ok && l.job != nil {
		l.job.DeepCopyInto(j)
		return nil
	}
	return l.Client.Get(ctx, key, o, opts...)
}

func (l *lagging) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	pods, ok := list.(*miniv1.MiniPodList)
	if !ok || l.pods == nil {
		return l.Client.List(ctx, list, opts...)
	}
	var all client.ListOptions
	all.ApplyOptions(opts)
	for i := range l.pods.Items {
		owner := index.Nobody
		if ref := metav1.GetControllerOf(&l.pods.Items[i]); ref != nil {
			owner = string(ref.UID)
		}
		if all.FieldSelector == nil || all.FieldSelector.Requirements()[0].Value == owner {
			pods.Items = append(pods.Items, *l.pods.Items[i].DeepCopy())
		}
	}
	return nil
}

// A cache that is behind what this process did, in whichever of the two kinds, has nothing done twice.
func TestStaleCache(t *testing.T) {
	for name, stale := range map[string]struct{ job, pods bool }{"MiniPods": {pods: true}, "MiniJob": {job: true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cache := &lagging{Client: fresh.Client(w.Client)}
			w.restart(cache)
			j := w.job("work", 5, 3)
			pass := func(n int) {
				t.Helper()
				var of *miniv1.MiniJob
				if stale.job {
					of = j
				}
				cache.freeze(w, of, stale.pods)
				for range n {
					_, err := w.pass(j)
					w.must(err)
				}
				cache.freeze(w, nil, false)
			}
			pass(4)
			if got := len(w.pods()); got != 3 {
				t.Fatalf("%d MiniPods, want 3", got)
			}
			w.settle(j)
			w.end(w.pods()[0], 0)
			w.time = w.time.Add(time.Second)
			w.end(w.pods()[1], 1)
			pass(4)
			w.settle(j)
			w.want(j, "Running 1/5 active=1 failed=1") // and a pause
			w.time = w.time.Add(time.Hour)
			pass(4)
			w.settle(j)
			w.want(j, "Running 1/5 active=3 failed=1")
		})
	}
}

// A standby takes over whose cache is behind what the manager before it did: it waits until it sees the MiniJob and all of its MiniPods, and
// does not believe a finalizer that is off.
func TestTakesOverWithAStaleCache(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 5, 3)
	w.settle(j)
	standby := &lagging{Client: fresh.Client(w.Client)}
	next := func(of *miniv1.MiniJob, pods bool, change func()) {
		t.Helper()
		standby.freeze(w, of, pods)
		change()
		w.restart(standby)
		for range 3 {
			if _, err := w.pass(j); err != nil {
				t.Fatal(err)
			}
		}
		standby.freeze(w, nil, false)
		w.restart(fresh.Client(w.Client))
		w.settle(j)
	}
	w.end(w.active()[0], 0)
	next(nil, true, func() { w.settle(j) }) // the cache shows it with its finalizer, and it is counted
	w.want(j, "Running 1/5 active=3 failed=0")
	w.end(w.active()[0], 0)
	next(j, false, func() { w.settle(j) }) // the cache shows the MiniJob without it in its counts
	w.want(j, "Running 2/5 active=3 failed=0")
	if made := len(w.pods()); made != 5 {
		t.Errorf("%d were made", made)
	}
}

// A MiniJob that the cache shows without what was counted is not short of MiniPods.
func TestStaleMiniJobMakesNoMore(t *testing.T) {
	w := newWorld(t)
	cache := &lagging{Client: fresh.Client(w.Client)}
	w.restart(cache)
	j := w.job("work", 5, 5)
	w.settle(j)
	w.end(w.pods()[0], 0)
	w.end(w.pods()[1], 0)
	cache.freeze(w, j, false)
	for range 4 {
		_, err := w.pass(j)
		w.must(err)
	}
	if made := len(w.pods()); made != 5 {
		t.Errorf("%d were made", made)
	}
	cache.freeze(w, nil, false)
	w.settle(j)
	w.want(j, "Running 2/5 active=3 failed=0")
}

// Two managers work at once, because one does not know yet that it leads no more: what one has counted the other does not.
func TestTwoManagers(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 5, 5)
	w.settle(j)
	w.end(w.pods()[0], 0)
	w.end(w.pods()[1], 1)
	meddled := false
	meddling := &breaking{Client: fresh.Client(w.Client)}
	meddling.left.Store(1000)
	meddling.before = func() {
		if !meddled {
			meddled = true
			mine := w.reconciler
			w.restart(fresh.Client(w.Client))
			w.settle(j)
			w.reconciler = mine
		}
	}
	w.restart(meddling)
	result, err := w.pass(j)
	if w.must(err); result.RequeueAfter == 0 || !meddled {
		t.Errorf("does not look again: %+v", result)
	}
	w.settle(j)
	w.want(j, "Running 1/5 active=4 failed=1")
}

// gets counts reads of single MiniPods past the cache.
type gets struct {
	client.Client
	pods int
}

func (g *gets) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if _, is := o.(*miniv1.MiniPod); is {
		g.pods++
	}
	return g.Client.Get(ctx, key, o, opts...)
}

// MiniPods that somebody made with a reference to the MiniJob, and without its labels, are not asked for one by one.
func TestComparesStrangersAtOnce(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 1, 1)
	w.settle(j)
	mine := w.pods()[0]
	for i := range 20 {
		pod := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: fmt.Sprint("stranger", i), OwnerReferences: mine.OwnerReferences,
			Finalizers: []string{miniv1.JobFinalizer}}, Spec: mine.Spec}
		w.must(w.Create(w.Context(), pod))
	}
	live := &gets{Client: w.Client}
	w.reconciler = job.NewReconciler(fresh.Client(w.Client), live, w.events, func() time.Time { return w.time })
	w.settle(j)
	if live.pods > 0 {
		t.Errorf("asked for %d, one by one", live.pods)
	}
	w.want(j, "Running 0/1 active=1 failed=0")
}
