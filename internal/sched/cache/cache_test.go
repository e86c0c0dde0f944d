package cache_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/resources"
	. "miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/test/builders"
)

func mini(name string) *miniv1.MiniNode {
	return &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func core(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

func pod(name string) *framework.Pod {
	return framework.NewPod(builders.Pod("ns", name).Labels(map[string]string{"app": "a"}).Requests("100m", "").Obj())
}

// used is what the cache has charged on a node, in thousandths of a core.
func used(c *Cache, node string) int64 {
	info, _, _ := c.Node(node)
	return info.Used.MilliCPU
}

func TestStateMachine(t *testing.T) {
	p, uid := pod("p"), pod("p").UID
	cases := []struct {
		name    string
		steps   func(c *Cache)
		held    string
		assumed bool
		doubt   string
	}{
		{"unknown", func(*Cache) {}, "", false, ""},
		{"assume", func(c *Cache) { c.Assume(p, "n1") }, "n1", true, ""},
		{"assume, confirm", func(c *Cache) { c.Assume(p, "n1"); c.Confirm(uid) }, "n1", false, ""},
		{"assume, forget", func(c *Cache) { c.Assume(p, "n1"); c.Forget(uid) }, "", false, ""},
		{"assume, bound seen", func(c *Cache) { c.Assume(p, "n1"); c.Bind(p, "n1") }, "n1", false, ""},
		{"assume, bound elsewhere seen", func(c *Cache) { c.Assume(p, "n1"); c.Bind(p, "n2") }, "n2", false, ""},
		{"bound, forget does nothing", func(c *Cache) { c.Bind(p, "n1"); c.Forget(uid) }, "n1", false, ""},
		{"assume, bound seen, forget does nothing", func(c *Cache) { c.Assume(p, "n1"); c.Bind(p, "n1"); c.Forget(uid) }, "n1", false, ""},
		{"assume, removed", func(c *Cache) { c.Assume(p, "n1"); c.Remove(uid) }, "", false, ""},
		{"assume, removed, confirm comes too late", func(c *Cache) { c.Assume(p, "n1"); c.Remove(uid); c.Confirm(uid) }, "", false, ""},
		{"bound, removed", func(c *Cache) { c.Bind(p, "n1"); c.Remove(uid) }, "", false, ""},
		{"assume, doubt", func(c *Cache) { c.Assume(p, "n1"); c.Doubt(uid) }, "n1", true, "n1"},
		{"assume, doubt, confirm", func(c *Cache) { c.Assume(p, "n1"); c.Doubt(uid); c.Confirm(uid) }, "n1", false, ""},
		{"assume, doubt, bound seen", func(c *Cache) { c.Assume(p, "n1"); c.Doubt(uid); c.Bind(p, "n1") }, "n1", false, ""},
		{"assume, doubt, bound elsewhere seen", func(c *Cache) { c.Assume(p, "n1"); c.Doubt(uid); c.Bind(p, "n2") }, "n2", false, ""},
		{"assume, doubt, forget", func(c *Cache) { c.Assume(p, "n1"); c.Doubt(uid); c.Forget(uid) }, "", false, ""},
		{"assume, doubt, removed", func(c *Cache) { c.Assume(p, "n1"); c.Doubt(uid); c.Remove(uid) }, "", false, ""},
		{"bound, doubt comes too late", func(c *Cache) { c.Bind(p, "n1"); c.Doubt(uid) }, "n1", false, ""},
		{"doubt about nobody", func(c *Cache) { c.Doubt(uid) }, "", false, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := New()
			c.SetMiniNode("n1", mini("n1"))
			c.SetMiniNode("n2", mini("n2"))
			tc.steps(c)
			held, ok := c.Holds(uid)
			if held != tc.held || ok != (tc.held != "") {
				t.Errorf("held on %q, want %q", held, tc.held)
			}
			doubt, ok := c.Doubtful(uid)
			if doubt != tc.doubt || ok != (tc.doubt != "") || c.Doubts() != map[bool]int{true: 1}[ok] {
				t.Errorf("doubtful on %q (%d in all), want %q", doubt, c.Doubts(), tc.doubt)
			}
			for _, node := range []string{"n1", "n2"} {
				want := int64(0)
				if node == tc.held {
					want = 100
				}
				if got := used(c, node); got != want {
					t.Errorf("%s: %d charged, want %d", node, got, want)
				}
			}
			if got, want := c.GroupSize(p.Group), map[bool]int{true: 1}[tc.held != ""]; got != want {
				t.Errorf("group size %d, want %d", got, want)
			}
			if c.Forget(uid) != tc.assumed || c.Doubts() != 0 {
				t.Errorf("only what is assumed (%v) can be forgotten, and its doubt with it (%d left)", tc.assumed, c.Doubts())
			}
		})
	}
}

func TestDoubtIsNewsOnce(t *testing.T) {
	c, p := New(), pod("p")
	c.Assume(p, "n1")
	if !c.Doubt(p.UID) || c.Doubt(p.UID) {
		t.Error("news once, and then not")
	}
	c.Assume(p, "n2") // decided anew
	if _, doubt := c.Doubtful(p.UID); doubt || c.Doubts() != 0 {
		t.Error("the doubt was about another decision")
	}
}

func TestChargesOutliveTheirNode(t *testing.T) {
	c, p := New(), pod("p")
	c.Bind(p, "n1") // before the node is known
	if _, _, ok := c.Node("n1"); ok {
		t.Error("a node without a MiniNode exists")
	}
	if changed, moved := c.SetMiniNode("n1", mini("n1")); !changed || moved || used(c, "n1") != 100 {
		t.Error("the charge is not there when the node comes")
	}
	c.SetMiniNode("n1", nil)
	c.SetMiniNode("n1", mini("n1"))
	if used(c, "n1") != 100 {
		t.Error("the charge is not there when the node comes back")
	}
	if got := c.Remove(p.UID); got != "n1" {
		t.Error("removed from", got)
	}
	if got := c.Remove(p.UID); got != "" {
		t.Error("removed twice, from", got)
	}
}

func TestOnlyDifferencesCount(t *testing.T) {
	c := New()
	node := core("n1")
	steps := []struct {
		name string
		do   func() (changed, moved bool)
		want bool
	}{
		{"core alone is no node", func() (bool, bool) { return c.SetCoreNode("n1", node) }, false},
		{"new", func() (bool, bool) { return c.SetMiniNode("n1", mini("n1")) }, true},
		{"the same", func() (bool, bool) { return c.SetMiniNode("n1", mini("n1")) }, false},
		{"another annotation", func() (bool, bool) {
			n := core("n1")
			n.Annotations = map[string]string{"a": "b"}
			return c.SetCoreNode("n1", n)
		}, false},
		{"cordoned", func() (bool, bool) { n := core("n1"); n.Spec.Unschedulable = true; return c.SetCoreNode("n1", n) }, true},
		{"core gone", func() (bool, bool) { return c.SetCoreNode("n1", nil) }, true},
		{"gone", func() (bool, bool) { return c.SetMiniNode("n1", nil) }, true},
		{"still gone", func() (bool, bool) { return c.SetMiniNode("n1", nil) }, false},
	}
	for _, s := range steps {
		if got, moved := s.do(); got != s.want || moved {
			t.Errorf("%s: changed = %v", s.name, got)
		}
	}
}

func TestChangedResourcesAreChargedAnew(t *testing.T) {
	c := New()
	c.SetMiniNode("n1", mini("n1"))
	c.Bind(pod("p"), "n1")
	c.Bind(framework.NewPod(builders.Pod("ns", "p").Requests("300m", "").Obj()), "n1")
	if got := used(c, "n1"); got != 300 {
		t.Error(got)
	}
}

// names lists the existing nodes of a snapshot with what is charged on them.
func names(s *Snapshot) map[string]int64 {
	out := map[string]int64{}
	for i := range s.Nodes {
		if s.Nodes[i].Exists() {
			out[s.Nodes[i].Name] = s.Nodes[i].Pods
		}
	}
	return out
}

func TestSnapshot(t *testing.T) {
	c, s := New(), &Snapshot{}
	check := func(want map[string]int64) {
		t.Helper()
		if diff := cmp.Diff(want, names(s)); diff != "" || s.Known != len(want) {
			t.Error(s.Known, diff)
		}
		for name := range want {
			if slot, ok := s.Find(name); !ok || s.Nodes[slot].Name != name {
				t.Error("cannot find", name)
			}
		}
	}
	c.SetMiniNode("n1", mini("n1"))
	c.SetMiniNode("n2", mini("n2"))
	c.Assume(pod("p"), "n1")
	check(map[string]int64{})
	c.Update(s)
	check(map[string]int64{"n1": 1, "n2": 0})

	point := s.Now()
	c.Assume(pod("q"), "n2")
	check(map[string]int64{"n1": 1, "n2": 0}) // private until it is updated
	c.Update(s)
	check(map[string]int64{"n1": 1, "n2": 1})
	slot, _ := s.Find("n2")
	changed, ok := s.Since(point)
	if diff := cmp.Diff([]int32{slot}, changed); diff != "" || !ok {
		t.Error(diff)
	}

	c.Remove(pod("q").UID)
	c.SetMiniNode("n2", nil)
	c.SetMiniNode("n3", mini("n3")) // takes the free slot
	c.Update(s)
	check(map[string]int64{"n1": 1, "n3": 0})
	if _, ok := s.Find("n2"); ok {
		t.Error("n2 is gone and found")
	}
	c.SetMiniNode("n4", mini("n4"))
	c.SetMiniNode("n4", nil) // both between two updates
	c.Update(s)
	check(map[string]int64{"n1": 1, "n3": 0})
}

func TestSnapshotForgetsOldHistory(t *testing.T) {
	c, s := New(), &Snapshot{}
	c.SetMiniNode("n1", mini("n1"))
	for i := range 500 {
		c.Assume(pod("p"), "n1")
		if i%2 == 0 {
			c.Forget(pod("p").UID)
		}
		c.Update(s)
	}
	if _, ok := s.Since(0); ok {
		t.Error("all history is kept")
	}
	if changed, ok := s.Since(s.Now()); !ok || len(changed) != 0 {
		t.Error("something changed since now")
	}
}

func TestNodeIsACopy(t *testing.T) {
	c, p := New(), pod("p")
	c.SetMiniNode("n1", mini("n1"))
	c.Bind(p, "n1")
	info, _, _ := c.Node("n1")
	c.Remove(p.UID)
	if info.GroupCount(p.Group) != 1 || info.Used != (resources.Amounts{MilliCPU: 100}) {
		t.Error("the copy changed")
	}
}
