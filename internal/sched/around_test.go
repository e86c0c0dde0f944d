package sched_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/worlds"
)

// aroundCodes are the reasons that other MiniPods are.
var aroundCodes = []framework.Code{framework.SpreadLabelMissing, framework.SkewTooGreat, framework.PodAffinityUnmet, framework.PodAntiAffinityUnmet, framework.Repelled}

// twins are a world as the scheduler has it, and as the reference has it.
type twins struct {
	t *testing.T
	*worlds.World
	*world
	ref *reference
}

func newTwins(t *testing.T, seed uint64, nodes int) *twins {
	tw := &twins{t: t, World: worlds.New(seed), world: newWorld(t, 0, "", "", 0),
		ref: &reference{nodes: map[string]*corev1.Node{}, pods: map[string]*bound{}, namespaces: map[string]map[string]string{}}}
	for _, ns := range worlds.Namespaces {
		tw.relabelNamespace(ns)
	}
	for i := range nodes {
		tw.setNode(fmt.Sprintf("n%d", i))
	}
	return tw
}

func (tw *twins) relabelNamespace(ns string) {
	tw.ref.namespaces[ns] = tw.Labels()
	tw.cache.SetNamespace(ns, tw.ref.namespaces[ns])
}

func (tw *twins) setNode(name string) {
	if tw.ref.nodes[name] == nil {
		tw.addNode(name, "1000", "1Ti", 10_000)
	}
	node := tw.Node(name)
	tw.ref.nodes[name] = node
	tw.cache.SetCoreNode(name, node)
}

func (tw *twins) dropNode(name string) {
	delete(tw.ref.nodes, name)
	tw.cache.SetMiniNode(name, nil)
	if tw.IntN(2) == 0 {
		tw.cache.SetCoreNode(name, nil)
	}
}

// any chooses among the names of a map.
func anyOf[T any](tw *twins, of map[string]T) string {
	names := slices.Sorted(maps.Keys(of))
	return names[tw.IntN(len(names))]
}

// step changes something.
func (tw *twins) step(nodes int) {
	switch tw.IntN(10) {
	case 0, 1:
		if len(tw.ref.pods) > 0 {
			name := anyOf(tw, tw.ref.pods)
			tw.cache.Remove(tw.ref.pods[name].UID)
			delete(tw.ref.pods, name)
		}
	case 2:
		tw.setNode(fmt.Sprintf("n%d", tw.IntN(nodes)))
	case 3:
		if name := anyOf(tw, tw.ref.nodes); len(tw.ref.nodes) > 2 {
			tw.dropNode(name)
		}
	case 4:
		tw.relabelNamespace(worlds.Namespaces[tw.IntN(3)])
	case 5, 6:
		if len(tw.ref.pods) > 0 {
			p := tw.ref.pods[anyOf(tw, tw.ref.pods)]
			if p.MiniPod = p.DeepCopy(); tw.IntN(2) == 0 {
				p.Labels = tw.Labels()
			} else {
				p.DeletionTimestamp = &metav1.Time{}
			}
			tw.cache.Bind(framework.NewPod(p.MiniPod), p.node)
		}
	}
}

// decide has the scheduler place a MiniPod, and compares each of its verdicts with the reference's.
func (tw *twins) decide(pod *miniv1.MiniPod) (chosen string, hard bool) {
	tw.t.Helper()
	tw.ref.counted = map[*miniv1.TopologySpreadConstraint]map[string]int{}
	p := framework.NewPod(pod)
	d := tw.cycle.Decide(p)
	best, at := int64(-1), int64(-1)
	for _, v := range tw.cycle.Explain(p) {
		want := tw.ref.filter(pod, v.Node)
		if v.Reason.Code == framework.Fits || slices.Contains(aroundCodes, v.Reason.Code) {
			hard = hard || want != framework.Fits
			if v.Reason.Code != want {
				tw.t.Fatalf("%s on %s: %+v, want code %d\n%v\n%v", pod.Name, v.Node, v.Reason, want, pod, tw.ref)
			}
		}
		if v.Reason.Code != framework.Fits {
			continue
		}
		tw.score(pod, &v)
		best = max(best, v.Total)
		if v.Node == d.Node {
			at = v.Total
		}
	}
	if (d.Node == "") != (best < 0) || d.Node != "" && (at != best || d.Score != best) {
		tw.t.Fatalf("%s: chose %q with %d (%d), best is %d", pod.Name, d.Node, d.Score, at, best)
	}
	return d.Node, hard
}

// score checks how much a MiniPod is drawn to a node, and how even it makes what is spread.
func (tw *twins) score(pod *miniv1.MiniPod, v *sched.Verdict) {
	tw.t.Helper()
	sum, scale := tw.ref.pull(pod, v.Node)
	want := int64(0)
	if scale > 0 {
		want = framework.MaxScore/2 + framework.MaxScore/2*sum/(max(sum, -sum)+scale)
	}
	if got := v.Scores["PodAffinity"]; got != want {
		tw.t.Fatalf("%s on %s is drawn by %d, want %d (sum %d, scale %d)", pod.Name, v.Node, got, want, sum, scale)
	}
	if got, want := v.Scores["TopologySpread"], tw.ref.evenness(pod, v.Node); got != want {
		tw.t.Fatalf("%s on %s is as even as %d, want %d", pod.Name, v.Node, got, want)
	}
}

func labelled(app string) *miniv1.LabelSelector {
	return &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"app": miniv1.LabelValue(app)}}
}

// around is a MiniPod of an application, with something that it asks of others.
func around(name, app string, ask func(*miniv1.MiniPodSpec)) *framework.Pod {
	return framework.NewPod(builders.Pod("ns", name).Labels(map[string]string{"app": app}).Requests("10m", "").With(func(p *miniv1.MiniPod) { ask(&p.Spec) }).Obj())
}

func near(app, key string) func(*miniv1.MiniPodSpec) {
	return func(s *miniv1.MiniPodSpec) {
		s.Affinity = &miniv1.Affinity{PodAffinity: &miniv1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []miniv1.PodAffinityTerm{
			{TopologyKey: key, LabelSelector: labelled(app)}}}}
	}
}

func awayFrom(app, key string) func(*miniv1.MiniPodSpec) {
	return func(s *miniv1.MiniPodSpec) {
		s.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []miniv1.PodAffinityTerm{
			{TopologyKey: key, LabelSelector: labelled(app)}}}}
	}
}

func evenly(app, key string, when corev1.UnsatisfiableConstraintAction) func(*miniv1.MiniPodSpec) {
	return func(s *miniv1.MiniPodSpec) {
		s.TopologySpreadConstraints = []miniv1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: when, LabelSelector: labelled(app)}}
	}
}

const host = corev1.LabelHostname

// zoned is four nodes in two zones and one in none.
func zoned(t *testing.T) *world {
	w := newWorld(t, 5, "4", "4Gi", 10)
	for i, zone := range []string{"a", "a", "b", "b"} {
		w.core(fmt.Sprintf("n%d", i), func(n *corev1.Node) { n.Labels["zone"] = zone })
	}
	return w
}

// TestAroundGolden tells stories, and why they end.
func TestAroundGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(name string) *framework.Pod
		// first is what is there already.
		first map[string]*framework.Pod
		want  []string
		why   string
	}{
		{"one on each node", func(name string) *framework.Pod { return around(name, "web", awayFrom("web", host)) }, nil, []string{"n0", "n1", "n2", "n3", "n4"},
			"0/5 nodes are available: 5 nodes are where MiniPods are that podAntiAffinity excludes (by kubernetes.io/hostname)."},
		{"one in each zone, and where there is none as many as there is room", func(name string) *framework.Pod { return around(name, "web", awayFrom("web", "zone")) }, nil,
			append([]string{"a", "b"}, slices.Repeat([]string{"n4"}, 10)...),
			"0/5 nodes are available: 4 nodes are where MiniPods are that podAntiAffinity excludes (by zone), 1 node is full of MiniPods (10)."},
		{"excluded by one that is there", func(name string) *framework.Pod { return app(name, "web", "4") },
			map[string]*framework.Pod{"n0": around("x", "x", awayFrom("web", "zone"))}, []string{"n2", "n3", "n4"},
			"0/5 nodes are available: 4 insufficient cpu (asks 4, free at most 3990m), 1 node is where MiniPods are whose podAntiAffinity excludes this one (by zone)."},
		{"the first of a group, and the others beside it", func(name string) *framework.Pod { return around(name, "web", near("web", "zone")) }, nil, slices.Repeat([]string{"one zone"}, 20),
			"0/5 nodes are available: 3 nodes are not where the MiniPods are that podAffinity requires (by zone), 2 nodes are full of MiniPods (10)."},
		{"company that is not there", func(name string) *framework.Pod { return around(name, "web", near("db", "zone")) }, nil, nil,
			"0/5 nodes are available: 5 nodes are not where the MiniPods are that podAffinity requires (by zone)."},
		{"even over zones", func(name string) *framework.Pod {
			return around(name, "web", evenly("web", "zone", corev1.DoNotSchedule))
		},
			map[string]*framework.Pod{"n0": app("fat", "fat", "4"), "n1": app("fat2", "fat", "4")}, []string{"b"},
			"0/5 nodes are available: 2 insufficient cpu (asks 10m, free 0), 2 nodes are where maxSkew by zone would be exceeded, " +
				"1 node is without the label zone of a topologySpreadConstraint."},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := zoned(t)
			for node, pod := range c.first {
				w.cache.Assume(pod, node)
			}
			var got []string
			for i := range 30 {
				d := w.cycle.Decide(c.make(fmt.Sprint(i)))
				if d.Node == "" {
					if d.Message != c.why {
						t.Errorf("waits for %s\nwant %s", d.Message, c.why)
					}
					break
				}
				w.cache.Assume(c.make(fmt.Sprint(i)), d.Node)
				got = append(got, d.Node)
			}
			if !sameStory(c.want, got) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// sameStory compares places regardless of their order; a zone stands for either of its nodes, and one zone for either of both.
func sameStory(want, got []string) bool {
	zones := map[string]string{"n0": "a", "n1": "a", "n2": "b", "n3": "b"}
	want, got = slices.Clone(want), slices.Clone(got)
	for i, node := range slices.Clone(got) {
		switch {
		case slices.Contains(want, "one zone") && zones[node] == zones[got[len(got)-1]]:
			got[i] = "one zone"
		case !slices.Contains(want, node) && zones[node] != "":
			got[i] = zones[node]
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	return slices.Equal(want, got)
}

// What is preferred leads, and excludes nothing.
func TestAroundPreferences(t *testing.T) {
	w := zoned(t)
	w.cache.Assume(app("db", "db", "1"), "n2")
	weighted := func(app string, weight int32, key string) []miniv1.WeightedPodAffinityTerm {
		return []miniv1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: miniv1.PodAffinityTerm{TopologyKey: key, LabelSelector: labelled(app)}}}
	}
	to := around("to", "web", func(s *miniv1.MiniPodSpec) {
		s.Affinity = &miniv1.Affinity{PodAffinity: &miniv1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted("db", 1, host)}}
	})
	from := around("from", "web", func(s *miniv1.MiniPodSpec) {
		s.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted("db", 1, "zone")}}
	})
	if d := w.cycle.Decide(to); d.Node != "n2" {
		t.Errorf("drawn to %s, want n2", d.Node)
	}
	if d := w.cycle.Decide(from); d.Node == "n2" || d.Node == "n3" {
		t.Errorf("repelled to %s", d.Node)
	}
	named := around("named", "web", func(s *miniv1.MiniPodSpec) { s.Affinity, s.NodeName = nil, "n3" })
	named.Around = from.Around
	if d := w.cycle.Decide(named); d.Node != "n3" {
		t.Errorf("a preference keeps a MiniPod from the node that it asks for: %s", d.Message)
	}
	w.cache.Assume(around("x", "x", func(s *miniv1.MiniPodSpec) {
		s.Affinity = &miniv1.Affinity{PodAffinity: &miniv1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted("cache", 1, host)}}
	}), "n3")
	if d := w.cycle.Decide(app("cache", "cache", "10m")); d.Node != "n3" {
		t.Errorf("what one that is there prefers does not count: %s", d.Node)
	}
	even := around("even", "db", evenly("db", "zone", corev1.ScheduleAnyway))
	if d := w.cycle.Decide(even); d.Node != "n0" && d.Node != "n1" {
		t.Errorf("not evened out: %s", d.Node)
	}
}

// A MiniPod with spec.nodeName waits for what is around that node, too.
// Where no node has room, nobody counts anything; and who is kept from nodes by others is told which they are.
func TestAroundAsksOnlyWhereThereIsRoom(t *testing.T) {
	w := newWorld(t, 2, "1", "1Gi", 110)
	w.cache.Assume(app("x", "full", "1"), "n0")
	w.cache.Assume(app("y", "full", "1"), "n1")
	if d := w.cycle.Decide(around("p", "web", awayFrom("full", host))); d.Node != "" || w.cache.Counts() || d.Kept.Has(0) {
		t.Errorf("%+v, counted: %t", d, w.cache.Counts())
	}
	w.cache.Remove(app("y", "full", "1").UID)
	w.cache.Assume(app("z", "full", "10m"), "n1")
	if d := w.cycle.Decide(around("p", "web", awayFrom("full", host))); d.Node != "" || !d.Kept.Has(0) || !d.Kept.Has(1) || d.Kept.Has(2) {
		t.Errorf("%+v", d)
	}
}

func TestAroundNamedNode(t *testing.T) {
	w := zoned(t)
	w.cache.Assume(app("db", "db", "1"), "n2")
	p := around("p", "web", func(s *miniv1.MiniPodSpec) { awayFrom("db", "zone")(s); s.NodeName = "n3" })
	want := "0/5 nodes are available: 4 nodes are not the one asked for, n3, 1 node is where MiniPods are that podAntiAffinity excludes (by zone)."
	if d := w.cycle.Decide(p); d.Message != want {
		t.Errorf("%q %s", d.Node, d.Message)
	}
}

// What the scheduler says of each node is what a look at every MiniPod says, and what it chooses is the best of all, whatever happens between
// the decisions.
func TestAroundAnswersAsTheReference(t *testing.T) {
	placed, waiting, excluded := 0, 0, 0
	for seed := range uint64(36) {
		nodes := 4 + int(seed%3)*40
		tw := newTwins(t, seed, nodes)
		for i := range 150 {
			tw.step(nodes + 2)
			pod := tw.Pod(fmt.Sprintf("p%d-%d", seed, i))
			chosen, hard := tw.decide(pod)
			if hard {
				excluded++
			}
			if chosen == "" {
				waiting++
				continue
			}
			placed++
			tw.cache.Assume(framework.NewPod(pod), chosen)
			tw.ref.pods[pod.Name] = &bound{pod, chosen}
		}
	}
	t.Logf("%d placed, %d waiting; others excluded nodes %d times", placed, waiting, excluded)
	if placed < 1000 || waiting < 100 || excluded < 1000 {
		t.Error("the worlds are too easy or too hard to say much")
	}
}

// Informers and writers change the cache while decisions are made; the race detector looks on.
func TestAroundWhileThingsChange(t *testing.T) {
	w := zoned(t)
	var changes sync.WaitGroup
	for worker := range 3 {
		changes.Go(func() {
			r := worlds.New(uint64(worker))
			for i := range 300 {
				p := framework.NewPod(r.Pod(fmt.Sprintf("other-%d-%d", worker, i)))
				w.cache.Bind(p, fmt.Sprintf("n%d", r.IntN(5)))
				w.core(fmt.Sprintf("n%d", r.IntN(5)), func(n *corev1.Node) { n.Labels["zone"] = fmt.Sprint(r.IntN(3)) })
				w.cache.SetNamespace(worlds.Namespaces[r.IntN(3)], r.Labels())
				w.cache.Concerned(p)
				w.cache.Remove(p.UID)
			}
		})
	}
	r := worlds.New(9)
	for i := range 300 {
		p := framework.NewPod(r.Pod(fmt.Sprint(i)))
		if d := w.cycle.Decide(p); d.Node != "" {
			w.cache.Assume(p, d.Node)
			w.cache.Forget(p.UID)
		}
	}
	changes.Wait()
}
