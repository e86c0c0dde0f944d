package scheduling_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

func of(app string) map[string]string { return map[string]string{"app": app} }

func term(key, app string) []miniv1.PodAffinityTerm {
	return []miniv1.PodAffinityTerm{{TopologyKey: key, LabelSelector: &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"app": miniv1.LabelValue(app)}}}}
}

func near(app string) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.Affinity = &miniv1.Affinity{PodAffinity: &miniv1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: term("zone", app)}}
	}
}

func awayFrom(app string) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: term("zone", app)}}
	}
}

const (
	noCompany = "0/1 nodes are available: 1 node is not where the MiniPods are that podAffinity requires (by zone)."
	excludes  = "0/1 nodes are available: 1 node is where MiniPods are that podAntiAffinity excludes (by zone)."
	excluded  = "0/1 nodes are available: 1 node is where MiniPods are whose podAntiAffinity excludes this one (by zone)."
)

// zoned is a world with one node, in zone a.
func zoned(t *testing.T) *world {
	w := newWorld(t)
	w.node("n1", "8")
	w.zone("n1", "a")
	w.start()
	return w
}

func (w *world) zone(node, zone string) {
	w.t.Helper()
	w.changeNode(node, func(n *corev1.Node) { n.Labels = map[string]string{"zone": zone} })
}

// relabel gives a MiniPod other labels.
func (w *world) relabel(name string, labels map[string]string) {
	w.t.Helper()
	pod, _ := w.get(name)
	before := pod.DeepCopy()
	pod.Labels = labels
	w.must(w.c.Patch(w.t.Context(), pod, client.MergeFrom(before)))
}

// A MiniPod that waits for others, or for others to go, is tried again when that happens, and not before.
func TestWakesForWhatIsAround(t *testing.T) {
	waits := func(w *world, message string) { w.untilWaiting("p", miniv1.ReasonUnschedulable, message) }
	other := func(w *world, app string, with func(*miniv1.MiniPod)) {
		w.create(builders.Pod("", "other").Labels(of(app)).With(owned).With(with).Obj())
		w.untilBound("other")
	}
	nothing := func(*miniv1.MiniPod) {}
	for _, c := range []struct {
		name string
		pod  func(*miniv1.MiniPod)
		// before is done before the MiniPod comes, and after when it waits.
		before, after func(w *world)
		why           string
	}{
		{"company comes", near("db"), func(*world) {}, func(w *world) { other(w, "db", nothing) }, noCompany},
		{"one there becomes company", near("db"), func(w *world) { other(w, "x", nothing) }, func(w *world) { w.relabel("other", of("db")) }, noCompany},
		{"it becomes the first of its group", near("db"), func(*world) {}, func(w *world) { w.relabel("p", of("db")) }, noCompany},
		{"who was in the way has gone", awayFrom("db"), func(w *world) { other(w, "db", nothing) }, func(w *world) { w.agentEnds("other") }, excludes},
		{"who was in the way is something else", awayFrom("db"), func(w *world) { other(w, "db", nothing) }, func(w *world) { w.relabel("other", of("x")) }, excludes},
		{"who did not want it has gone", nothing, func(w *world) { other(w, "x", awayFrom("web")) }, func(w *world) { w.agentEnds("other") }, excluded},
		{"it is something else", nothing, func(w *world) { other(w, "x", awayFrom("web")) }, func(w *world) { w.relabel("p", of("db")) }, excluded},
		{"the node is in no zone any more", awayFrom("db"), func(w *world) { other(w, "db", nothing) },
			func(w *world) { w.changeNode("n1", func(n *corev1.Node) { delete(n.Labels, "zone") }) }, excludes},
		{"a node elsewhere", nothing, func(w *world) { other(w, "x", awayFrom("web")) }, func(w *world) { w.node("n2", "1") }, excluded},
		{"the namespace is meant", func(p *miniv1.MiniPod) {
			near("db")(p)
			p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].NamespaceSelector = &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"team": "a"}}
		}, func(w *world) { other(w, "db", nothing) }, func(w *world) {
			ns := &corev1.Namespace{}
			w.must(w.c.Get(w.t.Context(), client.ObjectKey{Name: w.ns}, ns))
			ns.Labels["team"] = "a"
			w.must(w.c.Update(w.t.Context(), ns))
		}, noCompany},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := zoned(t)
			c.before(w)
			w.create(builders.Pod("", "p").Labels(of("web")).With(owned).With(c.pod).Obj())
			waits(w, c.why)
			c.after(w)
			w.untilBound("p")
		})
	}
}

// What happens on one node can make room on another: when it gets other labels, what is on it is somewhere else, and when that ends, it is nowhere.
func TestWakesForAnotherNode(t *testing.T) {
	for name, after := range map[string]func(w *world){
		"labels": func(w *world) { w.zone("n2", "b") },
		"end":    func(w *world) { w.agentEnds("other") },
	} {
		t.Run(name, func(t *testing.T) { wakesForAnotherNode(t, after) })
	}
}

func wakesForAnotherNode(t *testing.T, after func(w *world)) {
	t.Helper()
	w := zoned(t)
	w.node("n2", "1")
	w.zone("n2", "a")
	w.create(builders.Pod("", "other").Labels(of("db")).With(owned).With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n2" }).Obj())
	w.untilBound("other")
	w.changeNode("n2", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	w.create(builders.Pod("", "p").With(owned).With(awayFrom("db")).Obj())
	w.untilWaiting("p", miniv1.ReasonUnschedulable,
		"0/2 nodes are available: 1 node is cordoned, 1 node is where MiniPods are that podAntiAffinity excludes (by zone).")
	after(w)
	w.untilBound("p")
}

// A spread goes on when the place that has fewest has one more, and when one is being deleted where there are most.
func TestWakesForTheSpread(t *testing.T) {
	evenly := func(p *miniv1.MiniPod) {
		p.Spec.TopologySpreadConstraints = []miniv1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: term("", "web")[0].LabelSelector}}
	}
	on := func(node string) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) { p.Spec.NodeName = node }
	}
	w := zoned(t)
	w.node("n2", "1")
	w.changeNode("n2", func(n *corev1.Node) { n.Labels, n.Spec.Unschedulable = map[string]string{"zone": "b"}, true })
	create := func(name string, with func(*miniv1.MiniPod)) {
		w.create(builders.Pod("", name).Labels(of("web")).With(owned).With(with).Obj())
	}
	why := "0/2 nodes are available: 1 node is cordoned, 1 node is where maxSkew by zone would be exceeded."
	create("first", evenly)
	w.untilBound("first")
	create("second", evenly)
	w.untilWaiting("second", miniv1.ReasonUnschedulable, why)
	pod, _ := w.get("first")
	w.must(w.c.Delete(w.t.Context(), pod)) // its containers are still there
	w.untilBound("second")
	create("third", evenly)
	w.untilWaiting("third", miniv1.ReasonUnschedulable, why)
	create("there", func(p *miniv1.MiniPod) {
		on("n2")(p)
		p.Spec.Tolerations = []miniv1.Toleration{{Operator: corev1.TolerationOpExists}}
	})
	w.untilBound("there")
	w.untilBound("third")
}
