package eviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"miniplane.dev/miniplane/internal/eviction"
)

// A taint that goes and comes back before its node is looked at again counts from when it came back.
func TestTaintGoesBetweenLooks(t *testing.T) {
	now := time.Now()
	r := &reconciler{now: func() time.Time { return now }, sightings: eviction.NewSightings(), nodes: map[string]*memory{}}
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	without := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	with := without.DeepCopy()
	with.Spec.Taints = []corev1.Taint{{Key: "team", Effect: corev1.TaintEffectNoExecute}}
	r.sightings.Observe("n", with.Spec.Taints, now)
	now = now.Add(50 * time.Second)
	changes := r.onNode()
	changes.Update(t.Context(), event.UpdateEvent{ObjectOld: with, ObjectNew: without}, q)
	changes.Update(t.Context(), event.UpdateEvent{ObjectOld: without, ObjectNew: with}, q)
	if q.Len() != 1 {
		t.Fatalf("%d looks are to come, want one", q.Len())
	}
	if seen := r.sightings.Observe("n", with.Spec.Taints, now.Add(time.Second)); len(seen) != 1 || !seen[0].Since.Equal(now) {
		t.Errorf("%+v, want it since %s", seen, now)
	}
}
