package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// version is what changes with every write of a MiniPod.
func (w world) version(pod *miniv1.MiniPod) string {
	var now miniv1.MiniPod
	if err := w.Get(context.Background(), client.ObjectKeyFromObject(pod), &now); err != nil {
		return err.Error()
	}
	return now.ResourceVersion
}

// An agent that is away takes nothing with it while its machine lives: not one write about its MiniPods.
func TestAgentIsAwayAndTheMachineIsNot(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent := w.node("b")
	kubelet := w.kubelet("b")
	pod := w.pod("pod", "b")
	hasty := w.pod("hasty", "b", func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists,
			Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(1))}}
	})
	heard(t, agent, kubelet)
	before := w.version(pod)
	losses := testenv.Counted(t, "miniplane_node_losses_total", "agent")

	agent.on.Store(false)
	silent := time.Now()
	w.nodeIs("b", "Unknown AgentAbsent")
	if n := testenv.Counted(t, "miniplane_node_losses_total", "agent") - losses; n != 1 {
		t.Errorf("%v losses of agents are counted", n)
	}
	w.podIs(hasty, "NodeLost NodeLost disrupted deleting")
	w.stays("MiniPod pod", func() string { return w.version(pod) }, before, time.Until(silent.Add(grace+absence-time.Second)))
	w.untilTold("b", miniv1.ReasonAgentAbsent, "but the machine lives")

	// It comes back: nothing was lost, and nothing has to be taken back.
	agent.on.Store(true)
	w.nodeIs("b", "True AgentReady")
	w.untilTold("b", "AgentReturned", "renews its heartbeat again")
	w.stays("MiniPod pod", func() string { return w.version(pod) }, before, absence)

	// It stays away: the MiniPods are moved in the end.
	agent.on.Store(false)
	silent = time.Now()
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
	if took := time.Since(silent); took < grace+absence-beat-100*time.Millisecond {
		t.Errorf("deleted after %v of silence", took)
	}
}

// A machine that was started again while its agent is away runs nothing: that is said as soon as its kubelet tells.
func TestMachineStartsAgain(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent, kubelet := w.node("b"), w.kubelet("b")
	boot := func(id string) {
		w.must(w.Status().Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}},
			client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"status":{"nodeInfo":{"bootID":%q}}}`, id))))
	}
	boot("one")
	w.must(w.Status().Patch(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "b"}},
		client.RawPatch("application/merge-patch+json", []byte(`{"status":{"nodeInfo":{"bootID":"one"}}}`))))
	pod := w.pod("pod", "b")
	heard(t, agent, kubelet)
	agent.on.Store(false)
	w.nodeIs("b", "Unknown AgentAbsent")
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", 500*time.Millisecond)
	boot("two")
	told := time.Now()
	w.nodeIs("b", "Unknown MachineRestarted")
	w.podIs(pod, "NodeLost NodeLost disrupted")
	w.untilTold("b", miniv1.ReasonMachineRestarted, "was started again")
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
	if took := time.Since(told); took < wait-100*time.Millisecond || took > absence-500*time.Millisecond {
		t.Errorf("deleted %v after the machine was seen to have started again", took)
	}
}

// A machine that goes off while its agent is away is lost as fast as any.
func TestMachineFollowsItsAgent(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent, kubelet := w.node("b"), w.kubelet("b")
	pod := w.pod("pod", "b")
	heard(t, agent, kubelet)
	agent.on.Store(false)
	w.nodeIs("b", "Unknown AgentAbsent")
	kubelet.on.Store(false)
	silent := time.Now()
	w.nodeIs("b", "Unknown AgentLost")
	w.podIs(pod, "NodeLost NodeLost disrupted")
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
	if took := time.Since(silent); took > grace+wait+time.Second {
		t.Errorf("deleted after %v of silence of both", took)
	}
}

// Where machines have no Lease, the condition of the core Node speaks for them.
func TestMachineWithoutALease(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent := w.node("b")
	pod := w.pod("pod", "b")
	says := func(status corev1.ConditionStatus) {
		var node corev1.Node
		w.must(w.Get(t.Context(), client.ObjectKey{Name: "b"}, &node))
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		w.must(w.Status().Update(t.Context(), &node))
	}
	says(corev1.ConditionTrue)
	heard(t, agent)
	agent.on.Store(false)
	w.nodeIs("b", "Unknown AgentAbsent")
	w.stays("MiniPod pod", func() string { return w.state(pod) }, "Running ContainersReady", wait+500*time.Millisecond)
	says(corev1.ConditionUnknown)
	w.nodeIs("b", "Unknown AgentLost")
	w.podIs(pod, "NodeLost NodeLost disrupted deleting")
}

// The Lease for which managers vote is nobody's heartbeat: with it alone nobody is heard.
func TestTheManagersLeaseIsNoHeartbeat(t *testing.T) {
	w := newWorld(t)
	w.manager()
	agent := w.node("b")
	pod := w.pod("pod", "b")
	heard(t, agent)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: "miniplane-manager"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: new("host_4711")}}
	w.must(w.Create(t.Context(), lease))
	agent.on.Store(false)
	w.nodeIs("b", "Unknown AgentLost")
	w.stays("MiniPod pod", func() string {
		now := metav1.NowMicro()
		lease.Spec.RenewTime = &now
		w.must(w.Update(t.Context(), lease))
		return w.state(pod)
	}, "Running ContainersReady", grace+wait)
}

// Most nodes of a zone are silent at once: its MiniPods stay as they are. Those of a single node that is lost elsewhere do not.
func TestZoneBrake(t *testing.T) {
	w := newWorld(t)
	w.managerOf("100.64.0.0/18")
	var agents []*agent
	inZone := func(name, zone string) *agent {
		a := w.node(name)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		w.must(w.Patch(t.Context(), node, client.RawPatch("application/merge-patch+json",
			fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, corev1.LabelTopologyZone, zone))))
		agents = append(agents, a)
		return a
	}
	one, _ := inZone("one", "well"), inZone("other", "well")
	var silent []*agent
	for i := range 4 {
		silent = append(silent, inZone(fmt.Sprintf("s%d", i), "ill"))
	}
	held, moved := w.pod("held", "s0"), w.pod("moved", "one")
	heard(t, agents...)
	for _, a := range silent[:3] {
		a.on.Store(false)
	}
	one.on.Store(false)
	w.podIs(moved, "NodeLost NodeLost disrupted deleting")
	w.nodeIs("s0", "Unknown AgentLost")
	w.stays("MiniPod held", func() string { return w.state(held) }, "Running ContainersReady", wait)
	w.untilTold("s0", miniv1.ReasonAgentLost, "so much is silent at once that no MiniPods are moved")

	// One of them comes back: two of four are few enough, and have their whole time again.
	silent[2].on.Store(true)
	back := time.Now()
	w.podIs(held, "NodeLost NodeLost disrupted deleting")
	if took := time.Since(back); took < grace+wait-100*time.Millisecond {
		t.Errorf("deleted %v after the brake was released", took)
	}
	w.nodeIs("s2", "True AgentReady")
}

// Whoever says that a machine is off, for sure, has its MiniPods let go of at once; not those of a node that beats.
func TestOutOfService(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent := w.node("b")
	forever := func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists}}
	}
	pod, going := w.pod("pod", "b", forever), w.pod("going", "b")
	w.must(w.Delete(t.Context(), going))
	heard(t, agent)
	w.must(w.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"taints":[{"key":"node.kubernetes.io/out-of-service","value":"nodeshutdown","effect":"NoExecute"}]}}`))))
	w.stays("MiniPod pod", func() string { return w.state(pod) + ", " + w.state(going) },
		"Running ContainersReady, Running ContainersReady deleting", grace)
	agent.on.Store(false)
	silent := time.Now()
	w.podIs(pod, "gone")
	w.podIs(going, "gone")
	if took := time.Since(silent); took > grace+wait {
		t.Errorf("let go of after %v of silence", took)
	}
	w.untilTold("b", "OutOfService", "let go of 2 MiniPods")
	w.nodeIs("b", "Unknown AgentLost")
}

// What should have ended long ago, on a node that is lost, does not count in its namespace's quota; it does again when the node is
// back and ends it.
func TestQuotaOfALostNode(t *testing.T) {
	w := newWorld(t)
	w.manager()
	w.node("a")
	agent := w.node("b")
	at := func(seconds int64) func(*miniv1.MiniPod) {
		return func(pod *miniv1.MiniPod) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
	}
	brief, patient := w.pod("brief", "b", at(0)), w.pod("patient", "b", at(3600))
	heard(t, agent)
	counts := func(pod *miniv1.MiniPod) string {
		var now miniv1.MiniPod
		w.must(w.Get(context.Background(), client.ObjectKeyFromObject(pod), &now))
		if meta.IsStatusConditionTrue(now.Status.Conditions, miniv1.ConditionQuotaReleased) {
			return "does not count"
		}
		return "counts"
	}
	agent.on.Store(false)
	w.podIs(brief, "NodeLost NodeLost disrupted deleting")
	w.eventually("brief", func() string { return counts(brief) }, "does not count")
	if got := counts(patient); got != "counts" {
		t.Errorf("patient %s in its grace period", got)
	}
	agent.on.Store(true)
	w.eventually("brief", func() string { return counts(brief) }, "counts")
}

// untilTold waits for an Event about a MiniNode.
func (w world) untilTold(node, reason, part string) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		var list eventsv1.EventList
		w.must(w.List(context.Background(), &list))
		for _, e := range list.Items {
			if e.Reason == reason && e.Regarding.Name == node && strings.Contains(e.Note, part) {
				return ""
			}
		}
		return "no Event " + reason + " about " + node
	})
}
