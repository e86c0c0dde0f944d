package quota_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/quota"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type world struct {
	t  *testing.T
	c  client.Client
	ns string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, c := testenv.Start(t)
	w := &world{t: t, c: c, ns: testenv.Namespace(t, c)}
	testenv.StartManager(t, func(mgr ctrl.Manager) error { return quota.Setup(mgr, quota.Options{Gather: 20 * time.Millisecond}) })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func text(l corev1.ResourceList) string {
	parts := []string{}
	for _, key := range slices.Sorted(maps.Keys(l)) {
		q := l[key]
		parts = append(parts, fmt.Sprintf("%s=%s", key, q.String()))
	}
	return strings.Join(parts, " ")
}

func (w *world) create(name string, hard corev1.ResourceList) *miniv1.MiniQuota {
	w.t.Helper()
	q := &miniv1.MiniQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, Spec: miniv1.MiniQuotaSpec{Hard: hard}}
	w.must(w.c.Create(w.t.Context(), q))
	return q
}

// pod makes a MiniPod with this status.
func (w *world) pod(b *builders.PodBuilder) *miniv1.MiniPod {
	w.t.Helper()
	pod := b.Obj()
	pod.Namespace, pod.UID = w.ns, ""
	status := pod.Status
	w.must(w.c.Create(w.t.Context(), pod))
	pod.Status = status
	w.must(w.c.Status().Update(w.t.Context(), pod))
	return pod
}

// waits makes a MiniPod wait for a quota.
func waits(p *miniv1.MiniPod) {
	meta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{Type: miniv1.ConditionPodScheduled, Status: metav1.ConditionFalse,
		Reason: miniv1.ReasonQuotaExceeded, Message: "test"})
}

// untilSays waits for the status of a quota: "used | waiting | condition".
func (w *world) untilSays(name, want string) *miniv1.MiniQuota {
	w.t.Helper()
	q := &miniv1.MiniQuota{}
	testenv.Eventually(w.t, func() string {
		w.must(w.c.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: name}, q))
		got := "nothing yet"
		if c := meta.FindStatusCondition(q.Status.Conditions, miniv1.ConditionReady); c != nil {
			got = fmt.Sprintf("%s | %d | %s %s: %s", q.Status.UsedSummary, q.Status.WaitingPods, c.Status, c.Reason, c.Message)
		}
		return cmp.Diff(want, got)
	})
	return q
}

func TestStatusFollowsTheMiniPods(t *testing.T) {
	w := newWorld(t)
	mq := w.create("team", list("cpu", "1", "memory", "1Gi"))
	q := w.untilSays("team", "cpu: 0/1, memory: 0/1Gi | 0 | True WithinLimits: all limits are enforced, and there is room")
	if q.Status.ObservedGeneration != 1 || text(q.Status.Hard) != "cpu=1 memory=1Gi" || text(q.Status.Used) != "cpu=0 memory=0" {
		t.Errorf("%+v", q.Status)
	}

	bound := w.pod(builders.Pod("", "bound").Requests("800m", "64Mi").Node("n1"))
	w.pod(builders.Pod("", "done").Requests("100m", "64Mi").Node("n1").Phase(miniv1.PodSucceeded))
	w.pod(builders.Pod("", "new").Requests("100m", "64Mi"))
	w.untilSays("team", "cpu: 800m/1, memory: 64Mi/1Gi | 0 | True WithinLimits: all limits are enforced, and there is room")

	w.pod(builders.Pod("", "waits").Requests("300m", "1Mi").With(waits))
	w.pod(builders.Pod("", "full").Requests("200m", "64Mi").Node("n1"))
	w.untilSays("team", "cpu: 1/1, memory: 128Mi/1Gi | 1 | True AtLimit: all limits are enforced; used up: cpu; 1 MiniPods wait")

	w.must(w.c.Delete(t.Context(), bound))
	w.untilSays("team", "cpu: 200m/1, memory: 64Mi/1Gi | 0 | True WithinLimits: all limits are enforced, and there is room")

	w.must(w.c.Get(t.Context(), client.ObjectKeyFromObject(mq), mq))
	before := mq.DeepCopy()
	mq.Spec.Hard = list("requests.cpu", "2", "limits.memory", "1Gi")
	w.must(w.c.Patch(t.Context(), mq, client.MergeFrom(before)))
	q = w.untilSays("team", "limits.memory: 0/1Gi, requests.cpu: 200m/2 | 1 | True AtLimit: all limits are enforced; 1 MiniPods wait")
	if q.Status.ObservedGeneration != 2 {
		t.Error("observedGeneration", q.Status.ObservedGeneration)
	}
}

func (w *world) native(name string) (*corev1.ResourceQuota, error) {
	native := &corev1.ResourceQuota{}
	return native, w.c.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: name}, native)
}

func (w *world) untilNative(name, want string) *corev1.ResourceQuota {
	w.t.Helper()
	var native *corev1.ResourceQuota
	testenv.Eventually(w.t, func() string {
		var err error
		if native, err = w.native(name); err != nil {
			return err.Error()
		}
		return cmp.Diff(want, text(native.Spec.Hard))
	})
	return native
}

func TestCountsAreEnforcedByANativeQuota(t *testing.T) {
	w := newWorld(t)
	mq := w.create("team", list("cpu", "1", "count/minipods", "10", "count/secrets", "5", "count/deployments.apps", "3"))
	native := w.untilNative("miniquota-team", "count/deployments.apps=3 count/minipods.miniplane.dev=10 count/secrets=5")
	if !metav1.IsControlledBy(native, mq) || native.Labels[miniv1.QuotaNameLabel] != "team" {
		t.Errorf("%+v", native.ObjectMeta)
	}
	w.untilSays("team", "count/deployments.apps: ?/3, count/minipods: 0/10, count/secrets: ?/5, cpu: 0/1 | 0 | "+
		"True WithinLimits: all limits are enforced, and there is room")

	native, _ = w.native("miniquota-team")
	native.Status.Hard = native.Spec.Hard // what the ResourceQuota controller would do
	native.Status.Used = list("count/minipods.miniplane.dev", "10", "count/secrets", "1", "count/deployments.apps", "0")
	w.must(w.c.Status().Update(t.Context(), native))
	w.untilSays("team", "count/deployments.apps: 0/3, count/minipods: 10/10, count/secrets: 1/5, cpu: 0/1 | 0 | "+
		"True AtLimit: all limits are enforced; used up: count/minipods")

	change := func(hard corev1.ResourceList) {
		w.must(w.c.Get(t.Context(), client.ObjectKeyFromObject(mq), mq))
		before := mq.DeepCopy()
		mq.Spec.Hard = hard
		w.must(w.c.Patch(t.Context(), mq, client.MergeFrom(before)))
	}
	change(list("cpu", "1", "count/minipods", "20"))
	w.untilNative("miniquota-team", "count/minipods.miniplane.dev=20")

	native, _ = w.native("miniquota-team")
	native.Spec.Hard = list("count/secrets", "1")
	w.must(w.c.Update(t.Context(), native)) // somebody meddles
	native = w.untilNative("miniquota-team", "count/minipods.miniplane.dev=20")

	w.must(w.c.Delete(t.Context(), native))
	w.untilNative("miniquota-team", "count/minipods.miniplane.dev=20")

	change(list("cpu", "1"))
	testenv.Eventually(t, func() string {
		if _, err := w.native("miniquota-team"); !apierrors.IsNotFound(err) {
			return "the native quota is still there"
		}
		return ""
	})
}

// Kubernetes' quota controller, which does not run here, may take minutes to learn of new kinds. Until it has, the first count
// of our own kinds is ours, and the API server enforces it.
func TestCountsHoldFromTheFirstMoment(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b"} {
		w.pod(builders.Pod(w.ns, name))
	}
	w.create("team", list("count/minipods", "3", "count/miniservices", "0"))
	w.untilSays("team", "count/minipods: 2/3, count/miniservices: 0/0 | 0 | True AtLimit: all limits are enforced; used up: count/miniservices")
	w.pod(builders.Pod(w.ns, "c"))
	w.untilSays("team", "count/minipods: 3/3, count/miniservices: 0/0 | 0 | "+
		"True AtLimit: all limits are enforced; used up: count/minipods, count/miniservices")
	d := builders.Pod(w.ns, "d").Obj()
	d.Namespace, d.UID = w.ns, ""
	if err := w.c.Create(t.Context(), d); err == nil || !strings.Contains(err.Error(), "exceeded quota: miniquota-team") {
		t.Errorf("the fourth of three: %v", err)
	}
}

func TestSomebodyElsesResourceQuotaIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	other := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "miniquota-team"},
		Spec: corev1.ResourceQuotaSpec{Hard: list("count/secrets", "9")}}
	w.must(w.c.Create(t.Context(), other))
	mq := w.create("team", list("count/minipods", "1"))
	w.untilSays("team", "count/minipods: ?/1 | 0 | False FailedCreate: object counts are not enforced: "+
		"ResourceQuota miniquota-team is not owned by this MiniQuota; delete it or rename one of them")
	w.untilNative("miniquota-team", "count/secrets=9")
	w.must(w.c.Delete(t.Context(), mq))
}

func TestLongNames(t *testing.T) {
	w := newWorld(t)
	name := strings.Repeat("a", 250)
	w.create(name, list("count/minipods", "1"))
	testenv.Eventually(t, func() string {
		natives := &corev1.ResourceQuotaList{}
		w.must(w.c.List(context.Background(), natives, client.InNamespace(w.ns)))
		if len(natives.Items) != 1 {
			return fmt.Sprintf("%d native quotas", len(natives.Items))
		}
		return ""
	})
}
