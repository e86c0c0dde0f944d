package nodelife

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/test/builders"
)

const wait = 20 * time.Second

var policy = Policy{EvictionWait: wait, AgentAbsence: 5 * time.Minute}

func miniNode(ready ...metav1.Condition) *miniv1.MiniNode {
	out := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for _, condition := range ready {
		conditions.Set(&out.Status.Conditions, condition)
	}
	return out
}

func readyCondition(status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: miniv1.ConditionReady, Status: status, Reason: reason}
}

func bound(name string) *builders.PodBuilder { return builders.Pod("ns", name).Node("n1") }

// marked is a MiniPod of which the node was said to be lost.
func marked(name string) *builders.PodBuilder {
	return bound(name).ReadySince(start).With(func(pod *miniv1.MiniPod) { MarkLost(pod, lost, policy) })
}

func tolerating(seconds *int64) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists,
			Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
	}
}

// These are nodes whose agent was last heard at second 0. The machine of the absent one was heard at second 10.
var (
	silent = Health{State: Lost, LastSeen: at(0), LostAt: at(16), HasLease: true}
	heard0 = Health{State: Alive, LastSeen: at(0), LostAt: at(16), HasLease: true}
	early  = Health{State: Unsure, LastSeen: at(0), LostAt: at(16)}

	lost   = judge(silent, silent, SaysAlive)
	alive  = judge(heard0, silent, NoWord)
	unsure = judge(early, silent, NoWord)
	absent = judge(silent, Health{State: Alive, LastSeen: at(10), LostAt: at(26), HasLease: true}, NoWord)
	// restarted is absent, and its kubelet spoke of another start of the machine from second 18 on.
	restarted = absent.SinceBoot("one", "two", at(18))
)

// summary is a plan in short.
type summary struct {
	Ready                             string
	MarkLost, Unmark, Delete, Release []string
	Evict, Discharge, Recharge        []string
	DeleteMiniNode                    bool
	Again                             time.Time
}

func short(plan Plan) summary {
	names := func(pods []*miniv1.MiniPod) []string {
		var out []string
		for _, pod := range pods {
			out = append(out, pod.Name)
		}
		return out
	}
	out := summary{MarkLost: names(plan.MarkLost), Unmark: names(plan.Unmark), Delete: names(plan.Delete), Release: names(plan.Release),
		Evict: names(plan.Evict), Discharge: names(plan.Discharge), Recharge: names(plan.Recharge), DeleteMiniNode: plan.DeleteMiniNode, Again: plan.Again}
	if plan.Ready != nil {
		out.Ready = string(plan.Ready.Status) + " " + plan.Ready.Reason
	}
	return out
}

const isOff = "off" // of a node's extras: it has the taint that says so

func TestDecide(t *testing.T) {
	isReady := readyCondition(metav1.ConditionTrue, miniv1.ReasonAgentReady)
	isLost := readyCondition(metav1.ConditionUnknown, miniv1.ReasonAgentLost)
	isAbsent := readyCondition(metav1.ConditionUnknown, miniv1.ReasonAgentAbsent)
	isAbsent.Message = "the agent is silent; unless it comes back, they are moved 5m0s after that"
	isRestarted := readyCondition(metav1.ConditionUnknown, miniv1.ReasonMachineRestarted)
	notReady := func(seconds *int64) func(*miniv1.MiniPod) {
		return func(pod *miniv1.MiniPod) {
			pod.Spec.Tolerations = []miniv1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists,
				Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
		}
	}
	type pods = []*builders.PodBuilder
	tests := []struct {
		name  string
		node  *miniv1.MiniNode
		core  string // "": there is a core Node; "gone": there is none; isOff
		pods  pods
		life  Life
		pace  Pace
		now   float64
		wants summary
	}{
		{"alive: look again when it would be lost", miniNode(isReady), "", pods{bound("a")}, alive, Free, 1,
			summary{Again: at(16)}},
		{"alive: the agent's own word stays", miniNode(readyCondition(metav1.ConditionFalse, miniv1.ReasonAgentNotReady)), "", nil, alive, Free, 1,
			summary{Again: at(16)}},
		{"back, and has not spoken: nothing is known of its containers", miniNode(isLost), "", pods{marked("a")}, alive, Free, 1,
			summary{Again: at(16)}},
		{"back, and cannot start containers: neither", miniNode(readyCondition(metav1.ConditionFalse, miniv1.ReasonAgentNotReady)), "", pods{marked("a")}, alive, Free, 1,
			summary{Again: at(16)}},
		{"back: all is taken back, except deletions", miniNode(isReady), "",
			pods{marked("a"), marked("b").Deleting(start), bound("c")}, alive, Free, 1,
			summary{Unmark: []string{"a"}, Again: at(16)}},
		{"back: what the agent wrote over in part is taken back, too", miniNode(isReady), "",
			pods{marked("a").ReadySince(start)}, alive, Free, 1,
			summary{Unmark: []string{"a"}, Again: at(16)}},
		{"back: what did not count counts until it has ended", miniNode(isLost), "",
			pods{marked("b").Deleting(start).With(Discharge)}, alive, Free, 1,
			summary{Recharge: []string{"b"}, Again: at(16)}},
		{"alive without a core Node: nothing is touched", miniNode(isReady), "gone", pods{bound("a")}, alive, Free, 1,
			summary{Again: at(16)}},
		{"alive and out of service: its agent ends its MiniPods", miniNode(isReady), isOff, pods{bound("a").Deleting(start)}, alive, Free, 1,
			summary{Again: at(16)}},
		{"unsure: wait", miniNode(isLost), "gone", pods{marked("a")}, unsure, Free, 15,
			summary{Again: at(16)}},

		{"lost: say so, and when the pods go", miniNode(isReady), "", pods{
			bound("a"), bound("b").ReadySince(start), bound("done").Phase(miniv1.PodSucceeded), bound("going").Deleting(start)}, lost, Free, 16,
			summary{Ready: "Unknown AgentLost", MarkLost: []string{"a", "b"}, Again: at(36)}},
		{"lost: said already", miniNode(isLost), "", pods{marked("a")}, lost, Free, 20,
			summary{Again: at(36)}},
		{"lost: the wait is over", miniNode(isLost), "", pods{marked("a"), bound("late"), marked("gone").Deleting(at(36))}, lost, Free, 36,
			summary{Evict: []string{"a", "late"}, Again: at(76)}},
		{"lost: tolerations", miniNode(isLost), "", pods{
			marked("short").With(tolerating(new(int64(5)))), marked("long").With(tolerating(new(int64(300)))), marked("forever").With(tolerating(nil))}, lost, Free, 36,
			summary{Evict: []string{"short"}, Again: at(316)}},
		{"lost: the soonest is next", miniNode(isLost), "", pods{
			marked("long").With(tolerating(new(int64(300)))), marked("normal"), marked("longer").With(tolerating(new(int64(600))))}, lost, Free, 20,
			summary{Again: at(36)}},
		{"lost, but so are most: only the node says so", miniNode(isReady), "", pods{bound("a"), marked("b").Deleting(start)}, lost, Stopped, 100,
			summary{Ready: "Unknown AgentLost", Again: at(110)}},
		{"lost without a MiniNode: the pods go, the finalizer stays", nil, "", pods{marked("a").With(finalizer)}, lost, Free, 36,
			summary{Evict: []string{"a"}}},
		{"lost: what should have ended long ago does not count any more", miniNode(isLost), "", pods{
			marked("a").Deleting(start), marked("told").Deleting(start).With(Discharge), marked("later").Deleting(at(10)),
			marked("patient").Deleting(start).With(func(pod *miniv1.MiniPod) { pod.Spec.TerminationGracePeriodSeconds = new(int64(60)) })}, lost, Free, 40,
			summary{Discharge: []string{"a"}, Again: at(50)}},
		{"lost: nor before the node is given up", miniNode(isLost), "", pods{
			marked("a").Deleting(start).With(func(pod *miniv1.MiniPod) { pod.Spec.TerminationGracePeriodSeconds = new(int64(0)) })}, lost, Free, 30,
			summary{Again: at(36)}},

		{"absent: only the node says so", miniNode(isReady), "", pods{
			bound("a").ReadySince(start), bound("done").Phase(miniv1.PodSucceeded), bound("going").Deleting(start)}, absent, Free, 20,
			summary{Ready: "Unknown AgentAbsent", Again: at(26)}},
		{"absent: said already", miniNode(isAbsent), "", pods{bound("a")}, absent, Free, 20,
			summary{Again: at(26)}},
		{"absent: what was marked while the machine was silent stays so", miniNode(isLost), "", pods{marked("a")}, absent, Free, 20,
			summary{Ready: "Unknown AgentAbsent", Again: at(26)}},
		{"absent: the wait of a lost node is not its", miniNode(isAbsent), "", pods{bound("a")}, absent, Free, 315,
			summary{Again: at(26)}},
		{"absent for too long", miniNode(isAbsent), "", pods{bound("a"), bound("going").Deleting(start)}, absent, Free, 316,
			summary{Evict: []string{"a"}, Discharge: []string{"going"}, Again: at(26)}},
		{"absent: tolerations", miniNode(isAbsent), "", pods{
			bound("short").With(notReady(new(int64(5)))), bound("long").With(notReady(new(int64(600)))), bound("forever").With(notReady(nil)),
			bound("stays when unreachable").With(tolerating(nil)), bound("leaves when unreachable").With(tolerating(new(int64(5))))}, absent, Free, 21,
			summary{Evict: []string{"short"}, Again: at(26)}},
		{"absent, and so are most", miniNode(isReady), "", pods{bound("a")}, absent, Stopped, 1000,
			summary{Ready: "Unknown AgentAbsent", Again: at(26)}},
		{"absent and out of service: the machine lives", miniNode(isAbsent), isOff, pods{bound("a").With(finalizer)}, absent, Free, 20,
			summary{Again: at(26)}},

		{"restarted: nothing runs there, whatever the others do", miniNode(isReady), "", pods{
			bound("a").ReadySince(start), bound("done").Phase(miniv1.PodSucceeded), bound("going").Deleting(start)}, restarted, Stopped, 18,
			summary{Ready: "Unknown MachineRestarted", MarkLost: []string{"a"}, Again: at(26)}},
		{"restarted: from that on they wait as on a lost node", miniNode(isRestarted), "", pods{marked("a"), bound("b").With(tolerating(nil))}, restarted, Free, 37,
			summary{MarkLost: []string{"b"}, Again: at(26)}},
		{"restarted: the wait is over", miniNode(isRestarted), "", pods{marked("a"), marked("going").Deleting(start).With(finalizer)}, restarted, Free, 38,
			summary{Evict: []string{"a"}, Again: at(26)}},

		{"out of service: all is let go of at once, whatever the others do", miniNode(isLost), isOff, pods{
			bound("a").With(finalizer), marked("going").Deleting(start), bound("tolerates all").With(finalizer).With(func(pod *miniv1.MiniPod) {
				pod.Spec.Tolerations = []miniv1.Toleration{{Operator: corev1.TolerationOpExists}}
			})}, lost, Stopped, 16,
			summary{Ready: "Unknown AgentLost", Delete: []string{"a"}, Release: []string{"a", "going"}}},
		{"gone for good", miniNode(isLost), "gone", pods{
			marked("a").With(finalizer), bound("bare"), marked("going").Deleting(start), bound("done").Phase(miniv1.PodSucceeded).With(finalizer)}, lost, Stopped, 17,
			summary{Delete: []string{"a", "bare", "done"}, Release: []string{"a", "going", "done"}, DeleteMiniNode: true}},
		{"gone for good, and being deleted", deleting(miniNode(isLost)), "gone", nil, lost, Free, 17, summary{}},
		{"pods of a node that never was", nil, "gone", pods{bound("a").With(finalizer)}, lost, Free, 17,
			summary{Delete: []string{"a"}, Release: []string{"a"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen := Observed{Name: "n1", MiniNode: test.node, NodeExists: test.core != "gone", Life: test.life, Pace: test.pace}
			if test.core == isOff {
				seen.OutOfService = &corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}
			}
			for _, pod := range test.pods {
				seen.Pods = append(seen.Pods, pod.Obj())
			}
			plan := Decide(seen, policy, at(test.now))
			if diff := cmp.Diff(test.wants, short(plan)); diff != "" {
				t.Error(diff)
			}
			if plan.Harms() && test.life.State == Alive {
				t.Error("a living node is harmed")
			}
		})
	}
}

// The MiniNode says what the matter is, and what will happen; it is written again only when that changes.
func TestWhatTheMiniNodeSays(t *testing.T) {
	node := miniNode(readyCondition(metav1.ConditionTrue, miniv1.ReasonAgentReady))
	steps := []struct {
		life Life
		pace Pace
		off  bool
		want string
	}{
		{absent, Free, false, "AgentAbsent: the agent has not renewed its heartbeat since 2026-01-02T03:04:00Z, but the machine lives: MiniPods run on, nothing is started; unless it comes back, they are moved 5m0s after that"},
		{judge(Health{State: Lost, LastSeen: at(5), LostAt: at(21)}, absent.Machine, NoWord), Free, false, ""},
		{absent, Slow, false, "AgentAbsent: the agent has not renewed its heartbeat since 2026-01-02T03:04:00Z, but the machine lives: MiniPods run on, nothing is started; so much is silent at once that MiniPods are moved slowly"},
		{restarted, Slow, false, "MachineRestarted: the agent has not renewed its heartbeat since 2026-01-02T03:04:00Z, and the machine was started again: what ran here has ended; so much is silent at once that MiniPods are moved slowly"},
		{restarted, Slow, false, ""},
		{lost, Stopped, false, "AgentLost: neither the agent nor the machine has renewed its heartbeat since 2026-01-02T03:04:00Z; so much is silent at once that no MiniPods are moved"},
		{lost, Stopped, false, ""},
		{lost, Free, false, "AgentLost: neither the agent nor the machine has renewed its heartbeat since 2026-01-02T03:04:00Z"},
		{lost, Free, false, ""},
		{lost, Stopped, true, "AgentLost: neither the agent nor the machine has renewed its heartbeat since 2026-01-02T03:04:00Z; it is out of service: MiniPods are let go of"},
		{lost, Free, true, ""},
	}
	for i, step := range steps {
		seen := Observed{MiniNode: node, NodeExists: true, Life: step.life, Pace: step.pace}
		if step.off {
			seen.OutOfService = &corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}
		}
		got := ""
		if ready := Decide(seen, policy, at(20)).Ready; ready != nil {
			got = ready.Reason + ": " + ready.Message
			conditions.Set(&node.Status.Conditions, *ready)
		}
		if got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

func TestJudge(t *testing.T) {
	health := func(state State, last float64, lease bool) Health {
		return Health{State: state, LastSeen: at(last), LostAt: at(last + 16), HasLease: lease}
	}
	tests := []struct {
		name           string
		agent, machine Health
		word           Word
		state          State
		since, next    float64 // 0 for none
	}{
		{"an agent that lives needs no other", health(Alive, 1, true), health(Lost, 0, true), NoWord, Alive, 0, 17},
		{"unsure of the agent", health(Unsure, 1, true), health(Alive, 0, true), NoWord, Unsure, 0, 17},
		{"only the machine lives", health(Lost, 1, true), health(Alive, 10, true), NoWord, Absent, 17, 26},
		{"unsure of the machine", health(Lost, 1, true), health(Unsure, 10, true), NoWord, Unsure, 0, 26},
		{"both are silent, the machine since later", health(Lost, 1, true), health(Lost, 10, true), NoWord, Lost, 26, 0},
		{"both are silent, the agent since later", health(Lost, 10, true), health(Lost, 1, true), NoWord, Lost, 26, 0},
		{"a Lease says more than an old condition", health(Lost, 10, true), health(Lost, 1, true), SaysAlive, Lost, 26, 0},
		{"without a Lease the condition counts", health(Lost, 10, true), health(Lost, 1, false), SaysAlive, Absent, 26, 0},
		{"no kubelet at all", health(Lost, 10, true), health(Lost, 1, false), NoWord, Lost, 26, 0},
	}
	for _, test := range tests {
		life := judge(test.agent, test.machine, test.word)
		since, next := time.Time{}, time.Time{}
		if test.since != 0 {
			since = at(test.since)
		}
		if test.next != 0 {
			next = at(test.next)
		}
		if life.State != test.state || !life.Since.Equal(since) || !life.Next.Equal(next) {
			t.Errorf("%s: %d since %v, next %v", test.name, life.State, life.Since, life.Next)
		}
	}
}

// Only another boot ID proves something, and only of a node whose agent does not speak.
func TestSinceBoot(t *testing.T) {
	for _, test := range []struct {
		name             string
		life             Life
		agents, kubelets string
		then             float64
		state            State
		since            float64
	}{
		{"the same", absent, "one", "one", 18, Absent, 16},
		{"another", absent, "one", "two", 18, Restarted, 18},
		{"another, known before the agent was missed", absent, "one", "two", 5, Restarted, 16},
		{"an agent that tells none", absent, "", "two", 18, Absent, 16},
		{"a kubelet that tells none", absent, "one", "", 18, Absent, 16},
		{"an agent that beats, and has not told yet", alive, "one", "two", 18, Alive, 0},
		{"unsure of the agent", unsure, "one", "two", 18, Unsure, 0},
		{"both silent", lost, "one", "two", 18, Lost, 16},
	} {
		got := test.life.SinceBoot(test.agents, test.kubelets, at(test.then))
		if got.State != test.state || test.since != 0 && !got.Since.Equal(at(test.since)) {
			t.Errorf("%s: state %d since %v", test.name, got.State, got.Since)
		}
	}
}

// What is held back on a restarted machine is at least said not to run; of an absent agent's MiniPods nothing is said.
func TestHold(t *testing.T) {
	for _, test := range []struct {
		life Life
		want summary
	}{
		{restarted, summary{MarkLost: []string{"a"}, Again: at(110)}},
		{absent, summary{Again: at(110)}},
	} {
		plan := Plan{Evict: []*miniv1.MiniPod{bound("a").Obj(), marked("b").Obj()}}
		plan.Hold(Observed{Life: test.life}, at(110))
		if diff := cmp.Diff(test.want, short(plan)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBoot(t *testing.T) {
	fleet := NewFleet(16*time.Second, native)
	fleet.Join("n1", "", NoWord)
	for _, step := range []struct {
		id         string
		now, since float64
	}{{"one", 1, 1}, {"one", 5, 1}, {"two", 9, 9}, {"two", 20, 9}} {
		if got := fleet.Boot("n1", step.id, at(step.now)); !got.Equal(at(step.since)) {
			t.Errorf("%s at %v: since %v", step.id, step.now, got)
		}
	}
}

func finalizer(pod *miniv1.MiniPod) { pod.Finalizers = []string{miniv1.AgentFinalizer} }

func deleting(node *miniv1.MiniNode) *miniv1.MiniNode {
	now := metav1.NewTime(start)
	node.DeletionTimestamp = &now
	return node
}

func TestMarkAndUnmark(t *testing.T) {
	pod := bound("a").ReadySince(start).With(func(pod *miniv1.MiniPod) {
		pod.Status.Summary = "Running"
		conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionContainersReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonContainersReady})
	}).Obj()
	before := statuses(pod)
	MarkLost(pod, lost, policy)
	want := map[string]string{
		"summary":          "NodeLost",
		"Ready":            "False NodeLost: node n1 and its agent have not renewed their heartbeats since 2026-01-02T03:04:00Z",
		"ContainersReady":  "True ContainersReady: ",
		"DisruptionTarget": "True DeletionByNodeController: deleted from 2026-01-02T03:04:36Z on unless node n1 comes back",
	}
	if diff := cmp.Diff(want, statuses(pod)); diff != "" {
		t.Error(diff)
	}
	Unmark(pod)
	if diff := cmp.Diff(before, statuses(pod)); diff != "" {
		t.Error(diff)
	}

	tolerant := bound("b").With(tolerating(nil)).Obj()
	MarkLost(tolerant, lost, policy)
	if _, told := statuses(tolerant)["DisruptionTarget"]; told {
		t.Error("a MiniPod that stays is not about to be deleted")
	}
	Unmark(tolerant)
	if got := statuses(tolerant)["Ready"]; got != "False ContainersNotReady: " {
		t.Error("nothing was known of its containers:", got)
	}
}

func statuses(pod *miniv1.MiniPod) map[string]string {
	out := map[string]string{"summary": pod.Status.Summary}
	for _, c := range pod.Status.Conditions {
		out[c.Type] = string(c.Status) + " " + c.Reason + ": " + c.Message
	}
	return out
}

func TestTolerates(t *testing.T) {
	unreachable := corev1.TaintNodeUnreachable
	tests := []struct {
		name        string
		tolerations []miniv1.Toleration
		want        time.Duration
		forever     bool
	}{
		{"none", nil, wait, false},
		{"seconds", []miniv1.Toleration{{Key: unreachable, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(60))}}, time.Minute, false},
		{"more than can be counted", []miniv1.Toleration{{Key: unreachable, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(1 << 62))}}, 9223372036 * time.Second, false},
		{"negative is at once", []miniv1.Toleration{{Key: unreachable, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(-5))}}, 0, false},
		{"forever", []miniv1.Toleration{{Key: unreachable, Effect: "NoExecute"}}, wait, true},
		{"everything", []miniv1.Toleration{{Operator: "Exists"}}, wait, true},
		{"the shortest", []miniv1.Toleration{{Operator: "Exists"},
			{Key: unreachable, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(60))},
			{Key: unreachable, Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(30))},
			{Key: unreachable, Operator: "Exists"}}, 30 * time.Second, false},
		{"another effect", []miniv1.Toleration{{Key: unreachable, Operator: "Exists", Effect: "NoSchedule"}}, wait, false},
		{"another key", []miniv1.Toleration{{Key: "gpu", Operator: "Exists"}}, wait, false},
		{"another value", []miniv1.Toleration{{Key: unreachable, Operator: "Equal", Value: "x"}}, wait, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := bound("a").With(func(pod *miniv1.MiniPod) { pod.Spec.Tolerations = test.tolerations }).Obj()
			if got, forever := policy.tolerates(pod, Lost); forever != test.forever || !forever && got != test.want {
				t.Errorf("%v, %v", got, forever)
			}
		})
	}
}

func TestPodCIDR(t *testing.T) {
	subnets := ipam.NewSubnets(netip.MustParsePrefix("100.64.0.0/20"), 22)
	steps := []struct{ name, spec, status, want, problem string }{
		{"has", "", "100.64.4.0/22", "100.64.4.0/22", ""},
		{"any", "", "", "100.64.0.0/22", ""},
		{"any", "", "", "100.64.0.0/22", ""},
		{"wants", "100.64.9.9/22", "", "100.64.8.0/22", ""},
		{"greedy", "100.64.0.0/21", "", "", "PodCIDRRefused: the range 100.64.0.0/21 overlaps the one of node any"},
		{"elsewhere", "10.0.0.0/22", "", "", "PodCIDRRefused: the range 10.0.0.0/22 is not inside the cluster's pod range 100.64.0.0/20"},
		{"nonsense", "x", "", "", `PodCIDRRefused: "x" is not a range of addresses`},
		{"last", "", "", "100.64.12.0/22", ""},
		{"one too many", "", "", "", "PodCIDRExhausted: every range of the cluster's pod range 100.64.0.0/20 is given to a node; delete nodes that are gone, or run the manager with a larger --pod-cidr"},
	}
	for _, step := range steps {
		node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: step.name}}
		node.Spec.PodCIDR, node.Status.PodCIDR = step.spec, step.status
		cidr, problem := PodCIDR(node, subnets)
		text := ""
		if problem != nil {
			text = problem.Reason + ": " + problem.Message
		}
		if cidr != step.want || text != step.problem {
			t.Errorf("%s: %q, %q", step.name, cidr, text)
		}
	}
}
