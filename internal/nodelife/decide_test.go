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
	return bound(name).ReadySince(start).With(func(pod *miniv1.MiniPod) { MarkLost(pod, lost, wait) })
}

func tolerating(seconds *int64) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists,
			Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
	}
}

// lost, alive and unsure are an agent that was last heard at second 0.
var (
	lost   = Health{State: Lost, LastSeen: at(0), LostAt: at(16)}
	alive  = Health{State: Alive, LastSeen: at(0), LostAt: at(16)}
	unsure = Health{State: Unsure, LastSeen: at(0), LostAt: at(16)}
)

// summary is a plan in short.
type summary struct {
	Ready                             string
	MarkLost, Unmark, Delete, Release []string
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
		DeleteMiniNode: plan.DeleteMiniNode, Again: plan.Again}
	if plan.Ready != nil {
		out.Ready = string(plan.Ready.Status) + " " + plan.Ready.Reason
	}
	return out
}

func TestDecide(t *testing.T) {
	isReady := readyCondition(metav1.ConditionTrue, miniv1.ReasonAgentReady)
	isLost := readyCondition(metav1.ConditionUnknown, miniv1.ReasonAgentLost)
	tests := []struct {
		name   string
		node   *miniv1.MiniNode
		noNode bool // no core Node
		pods   []*builders.PodBuilder
		health Health
		blind  bool
		now    float64
		want   summary
	}{
		{"alive: look again when it would be lost", miniNode(isReady), false, []*builders.PodBuilder{bound("a")}, alive, false, 1,
			summary{Again: at(16)}},
		{"alive: the agent's own word stays", miniNode(readyCondition(metav1.ConditionFalse, miniv1.ReasonAgentNotReady)), false, nil, alive, false, 1,
			summary{Again: at(16)}},
		{"back: all is taken back, except deletions", miniNode(isLost), false,
			[]*builders.PodBuilder{marked("a"), marked("b").Deleting(start), bound("c")}, alive, false, 1,
			summary{Ready: "True AgentReady", Unmark: []string{"a"}, Again: at(16)}},
		{"alive without a core Node: nothing is touched", miniNode(isReady), true, []*builders.PodBuilder{bound("a")}, alive, false, 1,
			summary{Again: at(16)}},
		{"unsure: wait", miniNode(isLost), true, []*builders.PodBuilder{marked("a")}, unsure, false, 15,
			summary{Again: at(16)}},
		{"lost: say so, and when the pods go", miniNode(isReady), false, []*builders.PodBuilder{
			bound("a"), bound("b").ReadySince(start), bound("done").Phase(miniv1.PodSucceeded), bound("going").Deleting(start)}, lost, false, 16,
			summary{Ready: "Unknown AgentLost", MarkLost: []string{"a", "b"}, Again: at(36)}},
		{"lost: said already", miniNode(isLost), false, []*builders.PodBuilder{marked("a")}, lost, false, 20,
			summary{Again: at(36)}},
		{"lost: the wait is over", miniNode(isLost), false, []*builders.PodBuilder{marked("a"), bound("late"), marked("gone").Deleting(start)}, lost, false, 36,
			summary{MarkLost: []string{"late"}, Delete: []string{"a", "late"}}},
		{"lost: tolerations", miniNode(isLost), false, []*builders.PodBuilder{
			marked("short").With(tolerating(new(int64(5)))), marked("long").With(tolerating(new(int64(300)))), marked("forever").With(tolerating(nil))}, lost, false, 36,
			summary{Delete: []string{"short"}, Again: at(316)}},
		{"lost: the soonest is next", miniNode(isLost), false, []*builders.PodBuilder{
			marked("long").With(tolerating(new(int64(300)))), marked("normal"), marked("longer").With(tolerating(new(int64(600))))}, lost, false, 20,
			summary{Again: at(36)}},
		{"lost, but so are all: only the node says so", miniNode(isReady), false, []*builders.PodBuilder{bound("a")}, lost, true, 100,
			summary{Ready: "Unknown AgentLost"}},
		{"lost without a MiniNode: the pods go, the finalizer stays", nil, false, []*builders.PodBuilder{marked("a").With(finalizer)}, lost, false, 36,
			summary{Delete: []string{"a"}}},
		{"gone for good", miniNode(isLost), true, []*builders.PodBuilder{
			marked("a").With(finalizer), bound("bare"), marked("going").Deleting(start), bound("done").Phase(miniv1.PodSucceeded).With(finalizer)}, lost, true, 17,
			summary{Delete: []string{"a", "bare", "done"}, Release: []string{"a", "going", "done"}, DeleteMiniNode: true}},
		{"gone for good, and being deleted", deleting(miniNode(isLost)), true, nil, lost, false, 17, summary{}},
		{"pods of a node that never was", nil, true, []*builders.PodBuilder{bound("a").With(finalizer)}, lost, false, 17,
			summary{Delete: []string{"a"}, Release: []string{"a"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen := Observed{Name: "n1", MiniNode: test.node, NodeExists: !test.noNode, Health: test.health, Blind: test.blind}
			for _, pod := range test.pods {
				seen.Pods = append(seen.Pods, pod.Obj())
			}
			if diff := cmp.Diff(test.want, short(Decide(seen, wait, at(test.now)))); diff != "" {
				t.Error(diff)
			}
		})
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
	MarkLost(pod, lost, wait)
	want := map[string]string{
		"summary":          "NodeLost",
		"Ready":            "False NodeLost: the agent of node n1 has not renewed its heartbeat since 2026-01-02T03:04:00Z",
		"ContainersReady":  "True ContainersReady: ",
		"DisruptionTarget": "True DeletionByNodeController: deleted at 2026-01-02T03:04:36Z unless node n1 comes back",
	}
	if diff := cmp.Diff(want, statuses(pod)); diff != "" {
		t.Error(diff)
	}
	Unmark(pod)
	if diff := cmp.Diff(before, statuses(pod)); diff != "" {
		t.Error(diff)
	}

	tolerant := bound("b").With(tolerating(nil)).Obj()
	MarkLost(tolerant, lost, wait)
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
			if got, forever := tolerates(pod, wait); forever != test.forever || !forever && got != test.want {
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
