package daemonset

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// woken are the sets that an event wakes, of two: "any" wants every node, "ssd" those with that label.
func woken(t *testing.T, there []client.Object, happens func(*Reconciler, queue)) string {
	t.Helper()
	anywhere := &miniv1.MiniDaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "any"}}
	picky := &miniv1.MiniDaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ssd"}}
	picky.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	c := fake.NewClientBuilder().WithScheme(testenv.Scheme()).WithObjects(anywhere, picky).WithObjects(there...).Build()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	happens(NewReconciler(c, c, events.NewFakeRecorder(10), time.Now), q)
	names := ""
	for q.Len() > 0 {
		request, _ := q.Get()
		names += " " + request.Name
	}
	return names
}

func TestNodesWake(t *testing.T) {
	core := func(labels map[string]string, taints ...corev1.Taint) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: labels}, Spec: corev1.NodeSpec{Taints: taints}}
	}
	leaving := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	conditions.Set(&leaving.Status.Conditions, metav1.Condition{Type: miniv1.ConditionLeaving, Status: metav1.ConditionTrue})
	mini, ssd := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, map[string]string{"disk": "ssd"}
	beat := core(ssd)
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
	cordoned := core(ssd)
	cordoned.Spec.Unschedulable = true
	update := func(before, after *corev1.Node) func(*Reconciler, queue) {
		return func(r *Reconciler, q queue) {
			r.nodeEvents().Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
		}
	}
	updateMini := func(before, after *miniv1.MiniNode) func(*Reconciler, queue) {
		return func(r *Reconciler, q queue) {
			r.miniNodeEvents().Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
		}
	}
	for name, tc := range map[string]struct {
		there   []client.Object
		happens func(*Reconciler, queue)
		want    string
	}{
		"a heartbeat":                  {[]client.Object{mini}, update(core(ssd), beat), ""},
		"a cordon":                     {[]client.Object{mini}, update(core(ssd), cordoned), ""},
		"a label that one asks for":    {[]client.Object{mini}, update(core(nil), core(ssd)), " ssd"},
		"a label that nobody asks for": {[]client.Object{mini}, update(core(nil), core(map[string]string{"a": "b"})), ""},
		"a taint":                      {[]client.Object{mini}, update(core(nil), core(nil, corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoSchedule})), " any"},
		"a taint that all tolerate":    {[]client.Object{mini}, update(core(nil), core(nil, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})), ""},
		"another taint":                {[]client.Object{mini}, update(core(ssd, corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoSchedule}), core(ssd, corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoExecute})), " any ssd"},
		"a label, without a MiniNode":  {nil, update(core(nil), core(ssd)), ""},
		"a Node comes to its MiniNode": {[]client.Object{mini}, func(r *Reconciler, q queue) {
			r.nodeEvents().Create(t.Context(), event.CreateEvent{Object: core(ssd)}, q)
		}, " any ssd"},
		"a Node comes first": {nil, func(r *Reconciler, q queue) {
			r.nodeEvents().Create(t.Context(), event.CreateEvent{Object: core(ssd)}, q)
		}, ""},
		"a MiniNode comes to its Node": {[]client.Object{core(nil)}, func(r *Reconciler, q queue) {
			r.miniNodeEvents().Create(t.Context(), event.CreateEvent{Object: mini}, q)
		}, " any"},
		"a Node goes": {[]client.Object{mini}, func(r *Reconciler, q queue) {
			r.nodeEvents().Delete(t.Context(), event.DeleteEvent{Object: core(nil)}, q)
		}, " any"},
		"a MiniNode goes": {[]client.Object{core(nil)}, func(r *Reconciler, q queue) {
			r.miniNodeEvents().Delete(t.Context(), event.DeleteEvent{Object: mini}, q)
		}, " any"},
		"both go, the Node is told of": {nil, func(r *Reconciler, q queue) {
			r.nodeEvents().Delete(t.Context(), event.DeleteEvent{Object: core(nil)}, q)
		}, " any"},
		"both go, the MiniNode, too": {nil, func(r *Reconciler, q queue) {
			r.miniNodeEvents().Delete(t.Context(), event.DeleteEvent{Object: mini}, q)
		}, " any ssd"},
		"a MiniNode says what it has":    {[]client.Object{core(ssd)}, updateMini(mini, &miniv1.MiniNode{ObjectMeta: mini.ObjectMeta, Status: miniv1.MiniNodeStatus{PodCIDR: "10.0.0.0/24"}}), ""},
		"a MiniNode is about to be left": {[]client.Object{core(ssd)}, updateMini(mini, leaving), " any ssd"},
		"and is not":                     {[]client.Object{core(ssd)}, updateMini(leaving, mini), " any ssd"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := woken(t, tc.there, tc.happens); got != tc.want {
				t.Errorf("wakes%s, want%s", got, tc.want)
			}
		})
	}
}

func TestPodsWake(t *testing.T) {
	now := time.Now()
	pod := func() *builders.PodBuilder { return builders.Pod("ns", "p").Node("n") }
	for name, tc := range map[string]struct {
		before, after *builders.PodBuilder
		want          bool
	}{
		"nothing":         {pod(), pod(), false},
		"a restart":       {pod(), pod().With(func(p *miniv1.MiniPod) { p.Status.Restarts = 1 }), false},
		"it is ready":     {pod(), pod().ReadySince(now), true},
		"again":           {pod().ReadySince(now), pod().ReadySince(now.Add(time.Hour)), true},
		"it gets a node":  {builders.Pod("ns", "p"), pod(), true},
		"it failed":       {pod(), pod().Phase(miniv1.PodFailed), true},
		"it has to go":    {pod(), pod().Deleting(now), true},
		"it gets its own": {builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n" }), pod(), false},
	} {
		if _, got := (&Reconciler{}).interest().Changed(tc.before.Obj(), tc.after.Obj()); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
