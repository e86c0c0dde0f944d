package sched_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched"
	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/test/builders"
)

// wantsDisk is a MiniPod that needs a node with a disk and prefers a fast one.
func wantsDisk(name string) *miniv1.MiniPod {
	has := func(op corev1.NodeSelectorOperator, values ...string) miniv1.NodeSelectorTerm {
		return miniv1.NodeSelectorTerm{MatchExpressions: []miniv1.NodeSelectorRequirement{{Key: "disk", Operator: op, Values: values}}}
	}
	return builders.Pod("ns", name).Requests("50m", "").With(func(p *miniv1.MiniPod) {
		p.Spec.Affinity = &miniv1.Affinity{NodeAffinity: &miniv1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution:  &miniv1.NodeSelector{NodeSelectorTerms: []miniv1.NodeSelectorTerm{has(corev1.NodeSelectorOpExists)}},
			PreferredDuringSchedulingIgnoredDuringExecution: []miniv1.PreferredSchedulingTerm{{Weight: 10, Preference: has(corev1.NodeSelectorOpIn, "ssd")}},
		}}
	}).Obj()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// world is nodes, and a cycle that decides about them.
type world struct {
	cache *cache.Cache
	cycle *sched.Cycle
}

func newWorld(tb testing.TB, nodes int, cpu, memory string, maxPods int) *world {
	tb.Helper()
	profile, err := sched.DefaultProfile(nil)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{cache: cache.New()}
	w.cycle = sched.NewCycle(w.cache, profile, 42)
	for i := range nodes {
		w.addNode(fmt.Sprintf("n%d", i), cpu, memory, maxPods)
	}
	return w
}

func (w *world) addNode(name, cpu, memory string, maxPods int) {
	w.cache.SetMiniNode(name, &miniv1.MiniNode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: miniv1.MiniNodeStatus{
			PodCIDR:    "100.64.0.0/22",
			Conditions: []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue}},
			Allocatable: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory),
				"pods": *resource.NewQuantity(int64(maxPods), resource.DecimalSI)},
		},
	})
	w.core(name, func(*corev1.Node) {})
}

// core changes the core Node of a name.
func (w *world) core(name string, change func(*corev1.Node)) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}
	change(node)
	w.cache.SetCoreNode(name, node)
}

// place decides and, when a node was found, assumes. It returns the node or the message.
func (w *world) place(pod *framework.Pod) string {
	d := w.cycle.Decide(pod)
	if d.Node == "" {
		return d.Message
	}
	w.cache.Assume(pod, d.Node)
	return d.Node
}

func app(name, app, cpu string) *framework.Pod {
	return framework.NewPod(builders.Pod("ns", name).Labels(map[string]string{"app": app}).Requests(cpu, "").Obj())
}

func TestReasonsGolden(t *testing.T) {
	cases := []struct {
		name  string
		world func(w *world)
		pod   *framework.Pod
		want  string
	}{
		{"no nodes", func(w *world) {
			for i := range 3 {
				w.cache.SetMiniNode(fmt.Sprintf("n%d", i), nil)
			}
		}, app("p", "a", "1"), "0/0 nodes are available: no node has an agent yet."},
		{"as the manual says", func(w *world) {
			w.cache.Assume(app("x", "x", "900m"), "n0")
			w.cache.Assume(app("y", "x", "900m"), "n1")
			w.core("n2", func(n *corev1.Node) { n.Spec.Unschedulable = true })
		}, app("p", "a", "500m"), "0/3 nodes are available: 2 insufficient cpu (asks 500m, free 100m), 1 node is cordoned."},
		{"different amounts free", func(w *world) {
			w.cache.Assume(app("x", "x", "900m"), "n0")
			w.cache.Assume(app("y", "x", "800m"), "n1")
			w.cache.Assume(app("z", "x", "2"), "n2")
		}, app("p", "a", "500m"), "0/3 nodes are available: 3 insufficient cpu (asks 500m, free at most 200m)."},
		{"memory, places, taint", func(w *world) {
			for i := range 4 {
				w.cache.Assume(app(fmt.Sprint(i), "x", "0"), "n0")
			}
			w.core("n1", func(n *corev1.Node) {
				n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
			})
		}, framework.NewPod(builders.Pod("ns", "p").Requests("", "1536Mi").Obj()),
			"0/3 nodes are available: 2 insufficient memory (asks 1536Mi, free 1Gi), 1 node is tainted gpu=yes:NoSchedule without a toleration."},
		{"full of MiniPods", func(w *world) {
			for i := range 12 {
				w.cache.Assume(app(fmt.Sprint(i), "x", "0"), fmt.Sprintf("n%d", i%3))
			}
		}, app("p", "a", "0"), "0/3 nodes are available: 3 nodes are full of MiniPods (4)."},
		{"named node is not there", func(*world) {},
			framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n9" }).Obj()),
			"0/3 nodes are available: 3 nodes are not the one asked for, n9."},
		{"named node is not ready", func(w *world) {
			w.cache.SetMiniNode("n1", &miniv1.MiniNode{Status: miniv1.MiniNodeStatus{PodCIDR: "x"}})
		},
			framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n1" }).Obj()),
			"0/3 nodes are available: 2 nodes are not the one asked for, n1, 1 node is not ready."},
		{"selector, registration, range", func(w *world) {
			w.cache.SetCoreNode("n0", nil)
			w.cache.SetMiniNode("n1", &miniv1.MiniNode{})
		}, framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }).Obj()),
			"0/3 nodes are available: 1 node is not registered as a core Node, 1 node is without addresses for MiniPods yet, " +
				"1 node is without the label disk=ssd of nodeSelector."},
		{"node affinity", func(w *world) {
			w.core("n1", func(n *corev1.Node) { n.Labels["disk"], n.Spec.Unschedulable = "ssd", true })
		}, framework.NewPod(wantsDisk("p")), "0/3 nodes are available: 2 nodes are not what nodeAffinity requires, 1 node is cordoned."},
		{"host port", func(w *world) {
			for i := range 3 {
				w.cache.Assume(withHostPort(fmt.Sprint(i)), fmt.Sprintf("n%d", i))
			}
		}, withHostPort("p"), "0/3 nodes are available: 3 nodes are using host port 80/TCP already."},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3, "1", "1Gi", 4)
			c.world(w)
			if diff := cmp.Diff(c.want, w.place(c.pod)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.want, w.place(c.pod)); diff != "" {
				t.Error("asked again:", diff)
			}
		})
	}
}

func withHostPort(name string) *framework.Pod {
	return framework.NewPod(builders.Pod("ns", name).With(func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	}).Obj())
}

// TestPlacementsGolden tells a whole story: what goes where, and why.
func TestPlacementsGolden(t *testing.T) {
	w := newWorld(t, 3, "2", "4Gi", 10)
	var got []string
	step := func(pod *framework.Pod) { got = append(got, pod.Name+"→"+w.place(pod)) }
	for i := range 6 { // spread: two on each
		step(app(fmt.Sprintf("web-%d", i), "web", "100m"))
	}
	counts := map[string]int{}
	for _, g := range got {
		counts[g[len(g)-2:]]++
	}
	if diff := cmp.Diff(map[string]int{"n0": 2, "n1": 2, "n2": 2}, counts); diff != "" {
		t.Error(diff)
	}

	got = nil
	w.cache.Assume(app("fat-0", "fat", "1"), "n0")
	w.cache.Assume(app("fat-1", "fat2", "1"), "n1")
	step(app("single", "single", "100m")) // least requested
	w.core("n2", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "old", Effect: corev1.TaintEffectPreferNoSchedule}}
	})
	w.cache.Remove("ns/fat-1")
	step(app("shy", "shy", "100m")) // keeps off n2, and n0 is fuller than n1
	w.core("n1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	step(app("huge", "huge", "1500m")) // only n2 has room
	step(app("huger", "huger", "1500m"))
	w.cache.Remove("ns/huge")
	step(app("huger", "huger", "1500m"))
	want := []string{"single→n2", "shy→n1", "huge→n2",
		"huger→0/3 nodes are available: 2 insufficient cpu (asks 1500m, free at most 800m), 1 node is cordoned.", "huger→n2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A MiniPod with nodeAffinity goes where it must, there where it prefers, and follows the labels of nodes.
func TestNodeAffinity(t *testing.T) {
	w := newWorld(t, 4, "2", "4Gi", 10)
	label := func(node, disk string) { w.core(node, func(n *corev1.Node) { n.Labels["disk"] = disk }) }
	label("n1", "hdd")
	label("n2", "ssd")
	var got []string
	for i := range 3 {
		got = append(got, w.place(framework.NewPod(wantsDisk(fmt.Sprint(i)))))
	}
	label("n2", "hdd")
	label("n3", "ssd")
	got = append(got, w.place(framework.NewPod(wantsDisk("3"))))
	for i := range 4 {
		w.core(fmt.Sprintf("n%d", i), func(*corev1.Node) {})
	}
	got = append(got, w.place(framework.NewPod(wantsDisk("4"))))
	named := wantsDisk("5")
	named.Spec.NodeName = "n0"
	got = append(got, w.place(framework.NewPod(named)))
	want := []string{"n2", "n2", "n2", "n3", "0/4 nodes are available: 4 nodes are not what nodeAffinity requires.",
		"0/4 nodes are available: 3 nodes are not the one asked for, n0, 1 node is not what nodeAffinity requires."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamedNode(t *testing.T) {
	w := newWorld(t, 3, "1", "1Gi", 4)
	if got := w.place(framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n2" }).Obj())); got != "n2" {
		t.Error(got)
	}
}

func TestSameSeedSamePlacements(t *testing.T) {
	run := func() (out []string) {
		w := newWorld(t, 20, "4", "8Gi", 100)
		for i := range 200 {
			out = append(out, w.place(app(fmt.Sprint(i), fmt.Sprint(i%7), "10m")))
		}
		return out
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Error(diff)
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(t, 2, "1", "1Gi", 4)
	w.core("n1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	p := app("p", "a", "500m")
	chosen := w.cycle.Decide(p)
	got := w.cycle.Explain(p)
	if len(got) != 2 || got[0].Node != "n0" || got[0].Total != chosen.Score || got[0].Scores["Spread"] != framework.MaxScore {
		t.Errorf("%+v", got)
	}
	if got[1].Reason.Code != framework.Cordoned || got[1].Scores != nil {
		t.Errorf("%+v", got[1])
	}
}

// A ranking that follows changes must answer as a scan over all nodes would: same verdict, same score. With few nodes the
// shared ranking is searched to its end, with many and one large group the group gets its own.
func TestRankingsAnswerAsAFullScan(t *testing.T) {
	for _, c := range []struct{ nodes, groups, steps, seeds int }{{12, 5, 600, 20}, {90, 1, 1500, 4}, {60, 3, 3000, 2}} {
		for seed := range c.seeds {
			t.Run(fmt.Sprintf("%d nodes, %d groups, seed %d", c.nodes, c.groups, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(seed), 3))
				w := newWorld(t, c.nodes, "2", "4Gi", 8)
				var held []types.UID
				for step := range c.steps {
					node := fmt.Sprintf("n%d", r.IntN(c.nodes+2))
					switch r.IntN(8) {
					case 0:
						if len(held) > 0 {
							i := r.IntN(len(held))
							w.cache.Remove(held[i])
							held = append(held[:i], held[i+1:]...)
						}
					case 1:
						w.core(node, func(n *corev1.Node) {
							n.Spec.Unschedulable = r.IntN(4) == 0
							if disk := r.IntN(3); disk > 0 {
								n.Labels["disk"] = []string{"hdd", "ssd"}[disk-1]
							}
						})
					case 2:
						if r.IntN(3) == 0 {
							w.cache.SetMiniNode(node, nil)
						}
					case 3:
						w.addNode(node, "2", "4Gi", 8)
					default:
						group := r.IntN(c.groups)
						if step > c.steps/2 && step < c.steps*3/4 {
							group = -1 // the groups fall behind meanwhile
						}
						name := fmt.Sprintf("%d-%d", seed, step)
						p := app(name, fmt.Sprint(group), []string{"50m", "700m"}[r.IntN(2)])
						if r.IntN(4) == 0 {
							p = framework.NewPod(wantsDisk(name))
						}
						if checkAgainstScan(t, w, p) {
							held = append(held, p.UID)
						}
					}
				}
			})
		}
	}
}

func checkAgainstScan(t *testing.T, w *world, p *framework.Pod) (placed bool) {
	t.Helper()
	d := w.cycle.Decide(p)
	best, at := int64(-1), int64(-1)
	for _, v := range w.cycle.Explain(p) {
		if v.Reason.Code == framework.Fits {
			best = max(best, v.Total)
		}
		if v.Node == d.Node {
			at = v.Total
		}
	}
	if (d.Node == "") != (best < 0) || d.Node != "" && (at != best || d.Score != best) {
		t.Fatalf("chose %q with %d (%d), best is %d", d.Node, d.Score, at, best)
	}
	if d.Node != "" {
		w.cache.Assume(p, d.Node)
	}
	return d.Node != ""
}

func TestManyClassesShareTheMemory(t *testing.T) {
	w := newWorld(t, 5, "1000", "1Ti", 10_000)
	for round := range 2 {
		for i := range 600 {
			p := app(fmt.Sprintf("%d-%d", round, i), "a", fmt.Sprintf("%dm", i+1))
			if !checkAgainstScan(t, w, p) {
				t.Fatal("not placed")
			}
		}
	}
}
