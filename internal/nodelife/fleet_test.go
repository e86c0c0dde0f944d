package nodelife

import (
	"container/heap"
	"fmt"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

// native is the brake with the numbers of Kubernetes' own controller.
var native = Brake{Every: 10 * time.Second, EverySlow: 100 * time.Second, Unhealthy: 550, Large: 50}

// history is the story of a whole fleet: nodes beat, or are not heard, and whoever looks at them does what the manager does. One
// MiniPod on each node stands for all of them. Time passes in steps of a second.
type history struct {
	*testing.T
	brake Brake
	fleet *Fleet
	nodes []*actor
	now   int
	queue looks
	// emptied tells when the MiniPods of a node were deleted, marked on which nodes it was said that nothing is known of them.
	emptied map[string]int
	marked  map[string]bool
}

// actor is a node; agent and machine tell which of its witnesses are heard.
type actor struct {
	name, zone     string
	number         int
	agent, machine bool
}

func fleetOf(t *testing.T, brake Brake, zones map[string]int) *history {
	h := &history{T: t, brake: brake, emptied: map[string]int{}, marked: map[string]bool{}}
	for zone, n := range zones {
		for range n {
			number := len(h.nodes)
			h.nodes = append(h.nodes, &actor{name: fmt.Sprintf("n%d", number), zone: zone, number: number, agent: true, machine: true})
		}
	}
	h.restart()
	h.pass(60)
	return h
}

// restart is a new manager.
func (h *history) restart() {
	h.fleet, h.queue = NewFleet(16*time.Second, h.brake), nil
	for _, node := range h.nodes {
		h.fleet.Join(node.name, node.zone, NoWord)
		h.queue.add(h.now, node)
	}
}

// hear says which witnesses of the first n nodes of a zone are heard from now on.
func (h *history) hear(zone string, n int, agent, machine bool) {
	for _, node := range h.nodes {
		if node.zone == zone && n > 0 {
			node.agent, node.machine = agent, machine
			n--
		}
	}
}

// pass lets seconds pass.
func (h *history) pass(seconds int) {
	for end := h.now + seconds; h.now < end; h.now++ {
		for _, node := range h.nodes {
			if node.agent && (h.now+node.number)%4 == 0 && h.fleet.HearAgent(node.name, Beat{Renewed: at(float64(h.now))}, h.time()).Returned {
				h.queue.add(h.now, node)
			}
			if node.machine && (h.now+node.number)%10 == 0 {
				h.fleet.HearMachine(node.name, Beat{Renewed: at(float64(h.now)), Every: 10 * time.Second}, h.time())
			}
		}
		for len(h.queue) > 0 && h.queue[0].at <= h.now {
			h.look(heap.Pop(&h.queue).(look).node)
		}
	}
}

// look does what the manager does when it looks at a node.
func (h *history) look(node *actor) {
	pod := builders.Pod("ns", node.name).Node(node.name)
	if h.marked[node.name] {
		pod = marked(node.name)
	}
	if _, gone := h.emptied[node.name]; gone {
		pod.Phase(miniv1.PodFailed)
	}
	seen := Observed{Name: node.name, NodeExists: true, Pods: []*miniv1.MiniPod{pod.Obj()}}
	seen.Life, seen.Pace = h.fleet.Look(node.name, h.time())
	plan := Decide(seen, policy, h.time())
	if len(plan.Evict) > 0 {
		if ok, again := h.fleet.Admit(node.name, h.time()); ok {
			h.emptied[node.name] = h.now
		} else {
			plan.Hold(seen, again)
		}
	}
	if len(plan.MarkLost) > 0 {
		h.marked[node.name] = true
	}
	if !plan.Again.IsZero() {
		h.queue.add(max(h.now+1, int(plan.Again.Sub(start)/time.Second)), node)
	}
}

func (h *history) time() time.Time { return at(float64(h.now)) }

// emptiedBetween checks how many nodes were emptied in all.
func (h *history) emptiedBetween(least, most int) {
	h.Helper()
	if got := len(h.emptied); got < least || got > most {
		h.Errorf("after %d s %d nodes are emptied, want %d to %d", h.now, got, least, most)
	}
}

type look struct {
	at   int
	node *actor
}

type looks []look

func (l *looks) add(at int, node *actor) { heap.Push(l, look{at, node}) }
func (l looks) Len() int                 { return len(l) }
func (l looks) Less(i, j int) bool       { return l[i].at < l[j].at }
func (l looks) Swap(i, j int)            { l[i], l[j] = l[j], l[i] }
func (l *looks) Push(x any)              { *l = append(*l, x.(look)) }
func (l *looks) Pop() any                { last := (*l)[len(*l)-1]; *l = (*l)[:len(*l)-1]; return last }

func TestOneNodeOfManyIsLost(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"": 20})
	h.hear("", 1, false, false)
	h.pass(31)
	h.emptiedBetween(0, 0)
	h.pass(6)
	h.emptiedBetween(1, 1)
	h.pass(600)
	h.emptiedBetween(1, 1)
}

// A few nodes that are lost at once are emptied one after the other, at the pace of the flag.
func TestPace(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"": 20})
	h.hear("", 6, false, false)
	h.pass(40)
	h.emptiedBetween(1, 1)
	h.pass(24)
	h.emptiedBetween(4, 4)
	h.hear("", 6, true, true) // those that were not emptied yet had luck
	h.pass(600)
	h.emptiedBetween(4, 4)
}

// A load balancer in front of the API server serves one node in a hundred, for half an hour.
func TestALoadBalancerServesOnePercent(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"a": 334, "b": 333, "c": 333})
	for zone := range map[string]bool{"a": true, "b": true, "c": true} {
		h.hear(zone, 330, false, false)
	}
	h.pass(1800)
	h.emptiedBetween(0, 0)
	if n := len(h.marked); n > 0 {
		t.Errorf("the endpoints of %d nodes are gone", n)
	}
	for zone := range map[string]bool{"a": true, "b": true, "c": true} {
		h.hear(zone, 300, true, true) // most come back at once
	}
	h.pass(30)
	h.emptiedBetween(0, 0)
	h.hear("a", 334, true, true)
	h.hear("b", 333, true, true) // and the others a little later
	h.hear("c", 333, true, true)
	h.pass(600)
	h.emptiedBetween(0, 0)
}

// Six nodes of ten are silent, everywhere: some are emptied, slowly.
func TestALargePartIsSilent(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"": 100})
	h.hear("", 60, false, false)
	h.pass(1000)
	h.emptiedBetween(9, 10)

	small := fleetOf(t, native, map[string]int{"": 10})
	small.hear("", 6, false, false)
	small.pass(1000)
	small.emptiedBetween(0, 0)
	small.hear("", 3, true, true) // and goes on when few enough are left
	small.pass(34)
	small.emptiedBetween(0, 0)
	small.pass(100)
	small.emptiedBetween(3, 3)
}

// One zone of three is away, whole: we see well that it is, and there is where to go.
func TestOneZoneIsAway(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"a": 60, "b": 60, "c": 60})
	h.hear("b", 60, false, false)
	h.pass(36 + 300)
	h.emptiedBetween(28, 32)
	for name := range h.emptied {
		for _, node := range h.nodes {
			if node.name == name && node.zone != "b" {
				t.Errorf("%s of zone %s is emptied", name, node.zone)
			}
		}
	}
	h.hear("b", 60, true, true)
	before := len(h.emptied)
	h.pass(600)
	h.emptiedBetween(before, before)
}

// Nobody is heard, or the only node is not.
func TestAllAreSilent(t *testing.T) {
	for _, n := range []int{1, 2, 100} {
		h := fleetOf(t, native, map[string]int{"": n})
		h.hear("", n, false, false)
		h.pass(3600)
		h.emptiedBetween(0, 0)
	}
}

// An upgrade takes away an agent and cannot start the next; nothing is lost for five minutes. When it does so on all nodes, nothing
// is lost at all.
func TestAgentsAreAwayAndMachinesAreNot(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"": 10})
	h.hear("", 1, false, true)
	h.pass(300)
	h.emptiedBetween(0, 0)
	h.hear("", 1, true, true)
	h.pass(300)
	h.emptiedBetween(0, 0)
	h.hear("", 1, false, true)
	h.pass(330)
	h.emptiedBetween(1, 1)
	h.hear("", 10, false, true)
	h.pass(7200)
	h.emptiedBetween(1, 1)
	if n := len(h.marked); n > 0 {
		t.Errorf("the endpoints of %d nodes are gone", n)
	}
}

// A power cut while the agent is absent: both are silent then.
func TestTheMachineFollowsItsAgent(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"": 10})
	h.hear("", 1, false, true)
	h.pass(100)
	h.hear("", 1, false, false)
	h.pass(60)
	h.emptiedBetween(1, 1)
}

// Who replaces a manager counts no node twice, and evictions do not become faster by it.
func TestManagerIsReplaced(t *testing.T) {
	h := fleetOf(t, native, map[string]int{"a": 60, "b": 60})
	h.hear("b", 60, false, false)
	h.pass(36 + 100)
	h.emptiedBetween(8, 12)
	before := len(h.emptied)
	for range 10 {
		h.restart()
		h.pass(60)
	}
	h.emptiedBetween(before+10, before+30)

	slow := fleetOf(t, native, map[string]int{"": 100})
	slow.hear("", 60, false, false)
	for range 10 {
		slow.restart()
		slow.pass(60)
	}
	slow.emptiedBetween(0, 6)
}

// A node spends one token, however many of its MiniPods go how late, and one more when it is lost again.
func TestOneTokenForANode(t *testing.T) {
	fleet := NewFleet(16*time.Second, native)
	for i := range 3 {
		fleet.Join(fmt.Sprintf("n%d", i), "", NoWord)
	}
	admit := func(node string, seconds float64, want bool) {
		t.Helper()
		if ok, _ := fleet.Admit(node, at(seconds)); ok != want {
			t.Errorf("%s at %v s: %v", node, seconds, ok)
		}
	}
	beat := func(node string, seconds float64) {
		fleet.HearAgent(node, Beat{Renewed: at(seconds)}, at(seconds))
		fleet.Look(node, at(seconds))
	}
	fleet.Look("n0", at(0))
	admit("n0", 9, false) // a bucket begins empty
	admit("n0", 10, true)
	admit("n1", 11, false)
	admit("n0", 12, true)
	admit("n1", 20, true)
	beat("n0", 21)
	beat("n0", 22)
	admit("n0", 23, false)
	admit("n0", 30, true)
}

func TestPaceOfAZone(t *testing.T) {
	tests := []struct {
		name        string
		zone, fleet count
		othersWell  bool
		want        Pace
	}{
		{"all well", count{10, 0}, count{10, 0}, false, Free},
		{"two of three", count{3, 2}, count{3, 2}, false, Free},
		{"three of four", count{4, 3}, count{4, 3}, false, Stopped},
		{"half of a small one", count{10, 5}, count{10, 5}, false, Free},
		{"more than half of a small one", count{10, 6}, count{10, 6}, false, Stopped},
		{"more than half of a large one", count{100, 55}, count{100, 55}, false, Slow},
		{"a zone without trouble beside one with", count{100, 1}, count{200, 80}, false, Free},
		{"all of a zone, and others are well", count{10, 10}, count{30, 10}, true, Free},
		{"all of a zone, and others are not", count{100, 100}, count{200, 160}, false, Slow},
		{"all of a small zone, and others are not", count{10, 10}, count{30, 16}, false, Stopped},
		{"nine tenths of the fleet", count{100, 60}, count{1000, 900}, true, Stopped},
		{"all", count{1, 1}, count{1, 1}, false, Stopped},
	}
	for _, test := range tests {
		if got := native.pace(test.zone, test.fleet, test.othersWell); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	for _, brake := range []Brake{{EverySlow: time.Second, Unhealthy: 550}, {}} {
		if got := brake.pace(count{10, 1}, count{10, 1}, false); got != Stopped {
			t.Errorf("no evictions at the normal pace: %v", got)
		}
	}
}
