package node_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/node"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/nodelife"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

const (
	grace   = 2 * time.Second
	wait    = 1500 * time.Millisecond
	absence = 4 * time.Second
	beat    = 200 * time.Millisecond
)

// quick is a brake that paces nothing and yet can stop.
var quick = nodelife.Brake{Every: time.Millisecond, EverySlow: time.Millisecond, Unhealthy: 550, Large: 50}

func TestMain(m *testing.M) { testenv.Main(m) }

// world is an API server without nodes, and the means to make some.
type world struct {
	*testing.T
	client.Client
	ns string
}

func newWorld(t *testing.T) world {
	t.Helper()
	_, c := testenv.Start(t)
	w := world{t, c, testenv.Namespace(t, c)}
	_ = c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: miniv1.SystemNamespace}})
	t.Cleanup(func() {
		ctx := context.Background()
		for _, namespace := range []string{miniv1.SystemNamespace, corev1.NamespaceNodeLease} {
			_ = c.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(namespace))
		}
		_ = c.DeleteAllOf(ctx, &corev1.Node{})
		_ = c.DeleteAllOf(ctx, &miniv1.MiniNode{})
		w.clearPods()
	})
	return w
}

func (w world) clearPods() {
	var pods miniv1.MiniPodList
	_ = w.List(context.Background(), &pods)
	for i := range pods.Items {
		pods.Items[i].Finalizers = nil
		_ = w.Update(context.Background(), &pods.Items[i])
	}
	_ = w.DeleteAllOf(context.Background(), &miniv1.MiniPod{}, client.InNamespace(w.ns))
}

// manager has ranges for four nodes.
func (w world) manager() (stop func()) { return w.managerOf("100.64.0.0/20") }

func (w world) managerOf(podCIDR string) (stop func()) {
	w.Helper()
	return testenv.StartManager(w.T, func(mgr ctrl.Manager) error {
		return node.Setup(mgr, node.Options{GracePeriod: grace, EvictionWait: wait, AgentAbsence: absence, Brake: quick,
			PodCIDR: netip.MustParsePrefix(podCIDR)})
	}, node.ByObject())
}

func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// agent beats for a node while it is on.
type agent struct {
	on    atomic.Bool
	beat  sync.Mutex
	beats atomic.Int32
}

// stop ends the beats: none comes after it.
func (a *agent) stop() {
	a.beat.Lock()
	defer a.beat.Unlock()
	a.on.Store(false)
}

// heard waits until each agent has beaten a few times.
func heard(t *testing.T, agents ...*agent) {
	t.Helper()
	testenv.Eventually(t, func() string {
		for _, a := range agents {
			if a.beats.Load() < 3 {
				return "an agent is not heard"
			}
		}
		return ""
	})
}

// node makes a core Node, a MiniNode that is ready, and an agent that beats.
func (w world) node(name string, change ...func(*miniv1.MiniNode)) *agent {
	w.Helper()
	w.must(w.Create(w.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	mini := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, change := range change {
		change(mini)
	}
	w.must(w.Create(w.Context(), mini))
	before := mini.DeepCopy()
	conditions.Set(&mini.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady})
	w.must(w.Status().Patch(w.Context(), mini, client.MergeFrom(before)))
	return w.agent(name)
}

// agent beats as an agent does, and takes back what was said in its place.
func (w world) agent(name string) *agent {
	w.Helper()
	return w.beats(miniv1.SystemNamespace, name, func(ctx context.Context) {
		var mini miniv1.MiniNode
		if w.Get(ctx, client.ObjectKey{Name: name}, &mini) != nil {
			return
		}
		ready := meta.FindStatusCondition(mini.Status.Conditions, miniv1.ConditionReady)
		if ready != nil && (ready.Reason == miniv1.ReasonAgentLost || ready.Reason == miniv1.ReasonAgentAbsent) {
			before := mini.DeepCopy()
			conditions.Set(&mini.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady})
			_ = w.Status().Patch(ctx, &mini, client.MergeFrom(before))
		}
	})
}

// kubelet beats for the machine.
func (w world) kubelet(name string) *agent {
	w.Helper()
	return w.beats(corev1.NamespaceNodeLease, name, func(context.Context) {})
}

func (w world) beats(namespace, name string, tend func(context.Context)) *agent {
	w.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	renew := func() {
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.RenewTime = &name, &now
	}
	renew()
	w.must(w.Create(w.Context(), lease))
	a := &agent{}
	a.on.Store(true)
	ctx := w.Context()
	go func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for ctx.Err() == nil {
			<-ticker.C
			a.beat.Lock()
			if a.on.Load() {
				before := lease.DeepCopy()
				renew()
				if w.Patch(ctx, lease, client.MergeFrom(before)) == nil {
					a.beats.Add(1)
				}
				tend(ctx)
			}
			a.beat.Unlock()
		}
	}()
	return a
}

// pod makes a MiniPod that runs on a node and is held by the agent's finalizer.
func (w world) pod(name, node string, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	w.Helper()
	out := builders.Pod(w.ns, name).With(func(pod *miniv1.MiniPod) {
		pod.UID, pod.Finalizers = "", []string{miniv1.AgentFinalizer}
		for _, change := range change {
			change(pod)
		}
	}).Obj()
	w.must(w.Create(w.Context(), out))
	before := out.DeepCopy()
	out.Status = miniv1.MiniPodStatus{NodeName: node, Phase: miniv1.PodRunning, Summary: "Running"}
	for _, condition := range []string{miniv1.ConditionReady, miniv1.ConditionContainersReady} {
		conditions.Set(&out.Status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionTrue, Reason: miniv1.ReasonContainersReady})
	}
	w.must(w.Status().Patch(w.Context(), out, client.MergeFrom(before)))
	return out
}

// state of a MiniPod in one word and more: gone, or its summary, the reason of Ready, and whether it is being deleted.
func (w world) state(pod *miniv1.MiniPod) string {
	var now miniv1.MiniPod
	if err := w.Get(context.Background(), client.ObjectKeyFromObject(pod), &now); err != nil {
		return "gone"
	}
	out := now.Status.Summary
	if ready := meta.FindStatusCondition(now.Status.Conditions, miniv1.ConditionReady); ready != nil {
		out += " " + ready.Reason
	}
	if meta.IsStatusConditionTrue(now.Status.Conditions, miniv1.ConditionDisruptionTarget) {
		out += " disrupted"
	}
	if now.DeletionTimestamp != nil {
		out += " deleting"
	}
	return out
}

// ready is the Ready condition of a MiniNode, as "True AgentReady", or "gone".
func (w world) ready(name string) string {
	var now miniv1.MiniNode
	if err := w.Get(context.Background(), client.ObjectKey{Name: name}, &now); err != nil {
		return "gone"
	}
	ready := meta.FindStatusCondition(now.Status.Conditions, miniv1.ConditionReady)
	if ready == nil {
		return "nothing"
	}
	return string(ready.Status) + " " + ready.Reason
}

func (w world) eventually(what string, got func() string, want string) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		if now := got(); now != want {
			return fmt.Sprintf("%s is %q, want %q", what, now, want)
		}
		return ""
	})
}

// never checks that something stays what it is for some time.
func (w world) stays(what string, got func() string, want string, during time.Duration) {
	w.Helper()
	testenv.Never(w.T, during, func() string {
		if now := got(); now != want {
			return fmt.Sprintf("%s is %q, not %q", what, now, want)
		}
		return ""
	})
}

func (w world) podIs(pod *miniv1.MiniPod, want string) {
	w.Helper()
	w.eventually("MiniPod "+pod.Name, func() string { return w.state(pod) }, want)
}

func (w world) nodeIs(name, want string) {
	w.Helper()
	w.eventually("MiniNode "+name, func() string { return w.ready(name) }, want)
}
