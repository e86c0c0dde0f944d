package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

func TestLostNode(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	lost := w.node("b")
	elsewhere, pod := w.pod("elsewhere", "a"), w.pod("pod", "b")
	bare := w.pod("bare", "b", func(pod *miniv1.MiniPod) { pod.Finalizers = nil })
	patient := w.pod("patient", "b", func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists}}
	})
	w.stays("MiniNode b", func() string { return w.ready("b") }, "True AgentReady", grace+time.Second)
	losses := func() float64 { return testenv.Counted(t, "miniplane_node_losses_total", "node") }
	counted := losses()

	lost.on.Store(false)
	silent := time.Now()
	w.nodeIs("b", "Unknown AgentLost")
	if took := time.Since(silent); took < grace-beat-100*time.Millisecond {
		t.Errorf("lost after %v of silence", took)
	}
	w.podIs(pod, "NodeLost NodeLost disrupted")
	w.podIs(bare, "NodeLost NodeLost disrupted")
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
	if took := time.Since(silent); took < grace+wait-beat-100*time.Millisecond {
		t.Errorf("deleted after %v of silence", took)
	}
	w.podIs(bare, "gone")
	if n := losses() - counted; n != 1 {
		t.Errorf("%v losses are counted", n)
	}

	// The finalizer stays as long as the node may come back: only its agent knows that nothing runs any more.
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "NodeLost NodeLost disrupted deleting", time.Second)
	lost.on.Store(true)
	w.nodeIs("b", "True AgentReady")
	w.podIs(patient, "Running ContainersReady")
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
	w.podIs(elsewhere, "Running ContainersReady")
}

func TestNodeReturnsInTime(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent := w.node("b")
	pod := w.pod("pod", "b")
	agent.on.Store(false)
	w.podIs(pod, "NodeLost NodeLost disrupted")
	agent.on.Store(true)
	w.podIs(pod, "Running ContainersReady")
	w.nodeIs("b", "True AgentReady")
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", wait+time.Second)
}

func TestNodeIsGoneForGood(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent := w.node("b")
	pod, bare := w.pod("pod", "b"), w.pod("bare", "b", func(pod *miniv1.MiniPod) { pod.Finalizers = nil })

	// As long as the agent lives, it is the one to end its MiniPods, whatever was deleted.
	w.must(w.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}))
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", grace)
	agent.on.Store(false)
	w.podIs(pod, "gone")
	w.podIs(bare, "gone")
	w.nodeIs("b", "gone")
	w.nodeIs("a", "True AgentReady")
}

func TestPodsOfANodeThatNeverWas(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	pod := w.pod("pod", "nowhere")
	w.podIs(pod, "gone")
}

// MiniPods that a tenant's finalizer keeps, of nodes that are gone for good, are no silent nodes: they hold no brake.
func TestGhostsHoldNoBrake(t *testing.T) {
	w := newWorld(t)
	w.manager()
	a, lost := w.node("a"), w.node("b")
	var ghosts []*miniv1.MiniPod
	for i := range 9 {
		ghosts = append(ghosts, w.pod(fmt.Sprintf("ghost-%d", i), fmt.Sprintf("gone-%d", i), func(pod *miniv1.MiniPod) {
			pod.Finalizers = append(pod.Finalizers, "example.com/for-ever")
		}))
	}
	for _, ghost := range ghosts {
		w.podIs(ghost, "Running ContainersReady deleting")
	}
	pod := w.pod("pod", "b")
	heard(t, a, lost)
	lost.on.Store(false)
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
}

// Silence of all nodes is more likely ours: nothing is marked or deleted. The first that is heard again gives the others a
// full grace period.
func TestAllNodesAreSilent(t *testing.T) {
	w := newWorld(t)
	w.manager()
	a, b := w.node("a"), w.node("b")
	podA, podB := w.pod("on-a", "a"), w.pod("on-b", "b")
	heard(t, a, b)
	a.on.Store(false)
	b.on.Store(false)
	w.nodeIs("a", "Unknown AgentLost")
	w.nodeIs("b", "Unknown AgentLost")
	w.stays("MiniPod on-b", func() string { return w.state(podB) }, "Running ContainersReady", grace+wait)

	a.on.Store(true)
	w.nodeIs("a", "True AgentReady")
	w.stays("MiniPod on-b", func() string { return w.state(podB) }, "Running ContainersReady", grace-500*time.Millisecond)
	w.podIs(podB, "NodeLost NodeLost disrupted")
	w.podIs(podB, "NodeLost NodeLost disrupted deleting")
	w.podIs(podA, "Running ContainersReady")
}

// A manager that starts does not know how long an agent was silent.
func TestManagerRestart(t *testing.T) {
	w := newWorld(t)
	stop := w.manager()
	w.node("a")
	agent := w.node("b")
	pod := w.pod("pod", "b")
	heard(t, agent)
	stop()
	agent.on.Store(false)
	time.Sleep(grace + wait) //nolint:forbidigo // nobody is there who could tell of anything
	w.manager()
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", grace-500*time.Millisecond)
	w.podIs(pod, "NodeLost NodeLost disrupted")
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
}

func TestRanges(t *testing.T) {
	w := newWorld(t)
	stop := w.manager()
	cidr := func(name string) func() string {
		return func() string {
			var node miniv1.MiniNode
			_ = w.Get(context.Background(), client.ObjectKey{Name: name}, &node)
			return node.Status.PodCIDR
		}
	}
	wish := func(cidr string) func(*miniv1.MiniNode) {
		return func(node *miniv1.MiniNode) { node.Spec.PodCIDR = cidr }
	}
	w.node("a")
	w.eventually("range of a", cidr("a"), "100.64.0.0/22")
	w.node("b", wish("100.64.8.0/22"))
	w.eventually("range of b", cidr("b"), "100.64.8.0/22")
	w.node("greedy", wish("100.64.8.0/22"))
	w.nodeIs("greedy", "False PodCIDRRefused")

	stop()
	w.manager()
	w.node("c")
	w.node("d")
	got := map[string]bool{}
	for _, name := range []string{"c", "d"} {
		w.eventually("whether a range was given to "+name, func() string { return strings.TrimLeft(cidr(name)(), "0123456789.") }, "/22")
		got[cidr(name)()] = true
	}
	if !got["100.64.4.0/22"] || !got["100.64.12.0/22"] {
		t.Errorf("c and d have %v", got)
	}
	w.node("e")
	w.nodeIs("e", "False PodCIDRExhausted")
	w.must(w.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}})) // with its Node alone a MiniNode could come back
	w.must(w.Delete(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "b"}}))
	testedBoth := func() string { return cidr("greedy")() + cidr("e")() }
	w.eventually("the range that became free, given to one of those who wait", testedBoth, "100.64.8.0/22")
}
