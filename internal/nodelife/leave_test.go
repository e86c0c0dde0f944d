package nodelife

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/test/builders"
)

const notMatching = "its node selector does not match"

// leaves is a MiniNode that has said since some second, for a reason, that its node leaves.
func leaves(since float64, reason string, more ...metav1.Condition) *miniv1.MiniNode {
	seen := Observed{MiniNode: miniNode(more...), Unwanted: notMatching, Life: alive, Held: reason == miniv1.ReasonHeldBack}
	if reason == miniv1.ReasonLeftBehind {
		seen.Life = absent
	}
	said := leaving(seen)
	said.LastTransitionTime = metav1.NewTime(at(since))
	conditions.Set(&seen.MiniNode.Status.Conditions, said)
	return seen.MiniNode
}

// moved is a plan in short, with what concerns nodes that leave.
type moved struct {
	summary
	Leaving string
	Stay    bool
	Move    []string
}

func TestLeave(t *testing.T) {
	isReady := readyCondition(metav1.ConditionTrue, miniv1.ReasonAgentReady)
	isAbsent := readyCondition(metav1.ConditionUnknown, miniv1.ReasonAgentAbsent)
	isAbsent.Message = "the agent is silent; unless it comes back, they are moved 5m0s after that"
	isLeft := readyCondition(metav1.ConditionFalse, miniv1.ReasonAgentLeft)
	moving, held, behind := miniv1.ReasonMovingMiniPods, miniv1.ReasonHeldBack, miniv1.ReasonLeftBehind
	type pods = []*builders.PodBuilder
	tests := []struct {
		name     string
		node     *miniv1.MiniNode
		unwanted string
		held     bool
		pods     pods
		life     Life
		now      float64
		want     moved
	}{
		{"wanted", miniNode(isReady), "", false, pods{bound("a")}, alive, 1, moved{summary: summary{Again: at(16)}}},
		{"no more: it says so, and waits", miniNode(isReady), notMatching, false, pods{bound("a")}, alive, 1,
			moved{summary: summary{Again: at(6)}, Leaving: moving}},
		{"just said", leaves(1, moving, isReady), notMatching, false, pods{bound("a")}, alive, 3, moved{summary: summary{Again: at(6)}}},
		{"then all are moved, whoever they are", leaves(1, moving, isReady), notMatching, false, pods{bound("a"), bound("done").Phase(miniv1.PodSucceeded),
			bound("going").Deleting(at(2)), bound("tolerates all").With(tolerating(nil)), marked("marked")}, alive, 6,
			moved{summary: summary{Again: at(16)}, Move: []string{"a", "done", "tolerates all", "marked"}}},
		{"nothing is left", leaves(1, moving, isReady), notMatching, false, nil, alive, 8, moved{summary: summary{Again: at(16)}}},
		{"another reason is told", leaves(1, moving, isReady), "it does not tolerate", false, nil, alive, 8,
			moved{summary: summary{Again: at(16)}, Leaving: moving}},
		{"held back", leaves(1, moving, isReady), notMatching, true, pods{bound("a")}, alive, 8,
			moved{summary: summary{Again: at(16)}, Leaving: held}},
		{"no more", leaves(1, held, isReady), notMatching, false, pods{bound("a")}, alive, 8,
			moved{summary: summary{Again: at(16)}, Leaving: moving, Move: []string{"a"}}},
		{"wanted again", leaves(1, moving, isReady), "", false, pods{bound("a"), bound("going").Deleting(at(7))}, alive, 8,
			moved{summary: summary{Again: at(16)}, Stay: true}},
		{"unsure of its agent: wait", miniNode(isReady), notMatching, false, pods{bound("a")}, unsure, 1, moved{summary: summary{Again: at(16)}}},

		{"its agent ended too early", leaves(1, moving, isAbsent), notMatching, false, pods{bound("a")}, absent, 20,
			moved{summary: summary{Again: at(26)}, Leaving: behind}},
		{"said already; after a long time they are replaced", leaves(1, behind, isAbsent), notMatching, false, pods{bound("a")}, absent, 316,
			moved{summary: summary{Again: at(26), Evict: []string{"a"}}}},
		{"its agent had ended before anybody looked", miniNode(isAbsent), notMatching, false, pods{bound("a")}, absent, 20,
			moved{summary: summary{Again: at(26)}, Leaving: behind}},
		{"its agent cleans up", leaves(1, moving, isAbsent), notMatching, false, nil, absent, 20, moved{summary: summary{Again: at(26)}}},
		{"and does not say that it has", leaves(1, moving, isAbsent), notMatching, false, nil, absent, 120,
			moved{summary: summary{Again: at(26)}, Leaving: behind}},
		{"wanted again, and its agent is not back", leaves(1, behind, isAbsent), "", false, pods{bound("a")}, absent, 20,
			moved{summary: summary{Again: at(26)}}},
		{"and back", leaves(1, behind, isReady), "", false, pods{bound("a")}, alive, 20, moved{summary: summary{Again: at(16)}, Stay: true}},

		{"its agent has left", leaves(1, moving, isLeft), notMatching, false, nil, alive, 20, moved{summary: summary{DeleteMiniNode: true}}},
		{"its agent has left, and something came too late", leaves(1, moving, isLeft), notMatching, true, pods{bound("late").With(finalizer)}, absent, 20,
			moved{summary: summary{Delete: []string{"late"}, Release: []string{"late"}, DeleteMiniNode: true}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen := Observed{Name: "n1", MiniNode: test.node, NodeExists: true, Unwanted: test.unwanted, Held: test.held, Life: test.life}
			for _, pod := range test.pods {
				seen.Pods = append(seen.Pods, pod.Obj())
			}
			plan := Decide(seen, policy, at(test.now))
			got := moved{summary: short(plan), Stay: plan.Stay}
			for _, pod := range plan.Move {
				got.Move = append(got.Move, pod.Name)
			}
			if plan.Leaving != nil {
				got.Leaving = plan.Leaving.Reason
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(moved{})); diff != "" {
				t.Error(diff)
			}
			if (len(plan.Move) > 0 || plan.Leaving != nil) && !plan.Harms() {
				t.Error("a node is emptied without a second look")
			}
		})
	}
}

// A node that was lost is back, and leaves: its MiniPods serve again until it is their turn.
func TestWhatWaitsForItsTurnServes(t *testing.T) {
	seen := Observed{Name: "n1", MiniNode: leaves(1, miniv1.ReasonMovingMiniPods, readyCondition(metav1.ConditionTrue, miniv1.ReasonAgentReady)),
		NodeExists: true, Unwanted: notMatching, Life: alive, Pods: []*miniv1.MiniPod{marked("marked").Obj()}}
	plan := Decide(seen, policy, at(8))
	if diff := cmp.Diff(summary{Again: at(16)}, short(plan)); diff != "" || len(plan.Move) != 1 {
		t.Errorf("moved: %v %s", plan.Move, diff)
	}
	plan.Hold(seen, at(9))
	if diff := cmp.Diff(summary{Unmark: []string{"marked"}, Again: at(9)}, short(plan)); diff != "" || len(plan.Move) != 0 {
		t.Errorf("held: %v %s", plan.Move, diff)
	}
}

// What came to a node after its agent had left in order never ran.
func TestCameAfterTheAgentLeft(t *testing.T) {
	plan := Decide(Observed{Name: "n1", NodeExists: true, Left: true, Life: absent, Pods: []*miniv1.MiniPod{bound("late").With(finalizer).Obj()}}, policy, at(20))
	if diff := cmp.Diff(summary{Delete: []string{"late"}, Release: []string{"late"}}, short(plan)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatALeavingNodeSays(t *testing.T) {
	node := miniNode()
	node.Status.DaemonSet = "miniplane-system/miniplane-agent"
	said := func(life Life, held bool) string {
		return leaving(Observed{MiniNode: node, Unwanted: notMatching, Life: life, Held: held}).Message
	}
	prefix := "DaemonSet miniplane-system/miniplane-agent no longer wants this node (its node selector does not match): "
	for want, got := range map[string]string{
		prefix + "its MiniPods are moved, and then its agent leaves":                                                                                                                     said(alive, false),
		prefix + "so many nodes leave or are silent at once that no MiniPods are moved, and they run on; let it want some of the nodes again":                                            said(alive, true),
		prefix + "its agent has ended before everything was moved, and nobody ends what is left here; have the DaemonSet want the node again until its agent is ready, and then no more": said(absent, true),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	pod := bound("a").Obj()
	MarkMoved(pod)
	if target := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionDisruptionTarget); target == nil ||
		target.Message != "the DaemonSet of miniplane's agents no longer wants node n1" {
		t.Errorf("%+v", target)
	}
}

// exodus is the story of a fleet whose nodes leave: who is looked at every second, as the manager does, and when it was emptied.
type exodus struct {
	*history
	nodes   map[string]*miniv1.MiniNode
	leaves  map[string]bool
	emptied map[string]int
}

func exodusOf(t *testing.T, zones map[string]int) *exodus {
	e := &exodus{history: fleetOf(t, native, zones), nodes: map[string]*miniv1.MiniNode{}, leaves: map[string]bool{}, emptied: map[string]int{}}
	for _, node := range e.history.nodes {
		mini := miniNode(readyCondition(metav1.ConditionTrue, miniv1.ReasonAgentReady))
		mini.Name = node.name
		e.nodes[node.name] = mini
	}
	return e
}

// want says of the first n nodes of a zone whether the DaemonSet wants them.
func (e *exodus) want(zone string, n int, wanted bool) {
	for _, node := range e.history.nodes {
		if node.zone == zone && n > 0 {
			e.leaves[node.name] = !wanted
			n--
		}
	}
}

// live lets seconds pass, and looks at every node in each.
func (e *exodus) live(seconds int) {
	for range seconds {
		e.pass(1)
		for _, node := range e.history.nodes {
			e.visit(node.name)
		}
	}
}

func (e *exodus) visit(name string) {
	mini := e.nodes[name]
	seen := Observed{Name: name, MiniNode: mini, NodeExists: true}
	if _, gone := e.emptied[name]; !gone {
		seen.Pods = []*miniv1.MiniPod{builders.Pod("ns", name).Node(name).Obj()}
	}
	if e.leaves[name] {
		seen.Unwanted = notMatching
	}
	e.fleet.Away(name, e.leaves[name])
	seen.Life, seen.Pace = e.fleet.Look(name, e.time())
	seen.Held = e.fleet.Held(name, e.time())
	plan := Decide(seen, policy, e.time())
	if len(plan.Move) > 0 {
		if ok, again := e.fleet.Admit(name, e.time()); ok {
			e.emptied[name] = e.now
		} else {
			plan.Hold(seen, again)
		}
	}
	if plan.Leaving != nil {
		plan.Leaving.LastTransitionTime = metav1.NewTime(e.time())
		conditions.Set(&mini.Status.Conditions, *plan.Leaving)
	}
	if plan.Stay {
		conditions.Remove(&mini.Status.Conditions, miniv1.ConditionLeaving)
	}
}

func (e *exodus) moved(want int) {
	e.Helper()
	if got := len(e.emptied); got != want {
		e.Errorf("after %d s %d nodes are emptied, want %d", e.now, got, want)
	}
}

// Nodes that leave are emptied one after the other in each zone.
func TestNodesLeaveOneAfterTheOther(t *testing.T) {
	e := exodusOf(t, map[string]int{"a": 10, "b": 10})
	e.want("a", 5, false)
	e.want("b", 1, false)
	e.live(6)
	e.moved(2) // the first of each zone
	e.live(10)
	e.moved(3)
	e.live(30)
	e.moved(6)
	e.live(300)
	e.moved(6)
}

// A selector with a typo matches no node at all: nothing is moved. One that leaves too few nodes is one, too.
func TestNobodyIsWanted(t *testing.T) {
	e := exodusOf(t, map[string]int{"a": 10, "b": 10})
	e.want("a", 10, false)
	e.want("b", 10, false)
	e.live(600)
	e.moved(0)
	if reason := meta.FindStatusCondition(e.nodes["n0"].Status.Conditions, miniv1.ConditionLeaving).Reason; reason != miniv1.ReasonHeldBack {
		t.Errorf("the nodes say %s", reason)
	}
	e.want("a", 1, true)
	e.want("b", 1, true)
	e.live(300) // 18 of 20
	e.moved(0)
	e.want("a", 10, true)
	e.live(60)
	if n := len(e.emptied); n < 5 || n > 7 { // of b one in 10 s
		t.Errorf("a minute after it wants half of them, %d are emptied", n)
	}
	e.want("b", 10, true)
	n := len(e.emptied)
	e.live(300)
	e.moved(n)
	for name, node := range e.nodes {
		if meta.IsStatusConditionTrue(node.Status.Conditions, miniv1.ConditionLeaving) {
			t.Errorf("%s still leaves", name)
		}
	}
}

// The only node of a cluster has nowhere to send anything, nor have two that leave while the third is silent.
func TestNowhereToGo(t *testing.T) {
	e := exodusOf(t, map[string]int{"": 1})
	e.want("", 1, false)
	e.live(60)
	e.moved(0)

	e = exodusOf(t, map[string]int{"": 3})
	e.hear("", 1, false, true)
	e.live(30)
	for _, node := range e.history.nodes[1:] {
		e.leaves[node.name] = true
	}
	e.live(60)
	e.moved(0)
	e.hear("", 1, true, true)
	e.live(60)
	e.moved(2)
}

// A label that is taken off and put on again within seconds moves nothing.
func TestLabelChangedInTwoSteps(t *testing.T) {
	e := exodusOf(t, map[string]int{"": 5})
	for range 10 {
		e.want("", 2, false)
		e.live(4)
		e.want("", 2, true)
		e.live(1)
	}
	e.moved(0)
}

// Where much of a zone is silent, nothing is moved out of it on top of that.
func TestLeavingWhileTheZoneIsSilent(t *testing.T) {
	e := exodusOf(t, map[string]int{"a": 5, "b": 20})
	e.want("a", 1, false)
	for _, node := range e.history.nodes {
		if node.zone == "a" && !e.leaves[node.name] {
			node.agent = false
		}
	}
	e.pass(12)
	e.live(60)
	e.moved(0)
}
