// Package worlds makes random nodes, namespaces and MiniPods for tests of placement, by a seed: few values of everything, so that they
// have to do with each other.
package worlds

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

// The keys of labels that nodes have, or some of them.
const (
	Zone = "topology.kubernetes.io/zone"
	Rack = "example.com/rack"
)

// Namespaces are those that there are.
var Namespaces = []string{"ns-a", "ns-b", "ns-c"}

// World makes things. Make it with New.
type World struct{ *rand.Rand }

// New makes a World that is the same for the same seed.
func New(seed uint64) *World { return &World{rand.New(rand.NewPCG(seed, 11))} }

// one chooses.
func one[T any](w *World, of ...T) T { return of[w.IntN(len(of))] }

func some[T any](w *World, most int, make func() T) (out []T) {
	for range w.IntN(most + 1) {
		out = append(out, make())
	}
	return out
}

// Node is a core Node of a name.
func (w *World) Node(name string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	if w.IntN(12) > 0 {
		node.Labels[corev1.LabelHostname] = name
	}
	if w.IntN(8) > 0 {
		node.Labels[Zone] = one(w, "z1", "z2", "z3")
	}
	if w.IntN(4) > 0 {
		node.Labels[Rack] = one(w, "r1", "r2", "r3", "r4", "")
	}
	if w.IntN(2) > 0 {
		node.Labels["cores"] = one(w, "2", "4", "8", "many")
	}
	for _, effect := range []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule} {
		if w.IntN(10) == 0 {
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: one(w, "gpu", "old"), Value: one(w, "", "yes"), Effect: effect})
		}
	}
	return node
}

// Labels are those of a MiniPod, or a namespace.
func (w *World) Labels() map[string]string {
	out := map[string]string{}
	if w.IntN(6) > 0 {
		out["app"] = one(w, "web", "db", "cache")
	}
	if w.IntN(2) > 0 {
		out["tier"] = one(w, "front", "back", "")
	}
	if w.IntN(3) > 0 {
		out["version"] = one(w, "1", "2")
	}
	return out
}

// Pod is a MiniPod of a name that asks for something of nodes and of others, or not.
func (w *World) Pod(name string) *miniv1.MiniPod {
	pod := builders.Pod(one(w, Namespaces...), name).Labels(w.Labels()).Obj()
	spec := &pod.Spec
	spec.Affinity = &miniv1.Affinity{}
	switch w.IntN(6) {
	case 0: // nothing
	case 1, 2:
		spec.TopologySpreadConstraints = w.spread()
	default:
		if w.IntN(2) > 0 {
			spec.Affinity.PodAffinity = &miniv1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: some(w, 2, w.weighted)}
			if w.IntN(2) > 0 {
				spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = some(w, 2, w.term)
			}
		}
		if w.IntN(2) > 0 {
			spec.Affinity.PodAntiAffinity = &miniv1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: some(w, 1, w.term),
				PreferredDuringSchedulingIgnoredDuringExecution: some(w, 2, w.weighted)}
		}
		if w.IntN(4) == 0 {
			spec.TopologySpreadConstraints = w.spread()
		}
	}
	if w.IntN(4) == 0 {
		spec.NodeSelector = map[string]string{Zone: one(w, "z1", "z2")}
	}
	if w.IntN(4) == 0 {
		spec.Affinity.NodeAffinity = w.nodeAffinity()
	}
	for _, key := range []string{"gpu", "old"} {
		if w.IntN(3) == 0 {
			spec.Tolerations = append(spec.Tolerations, miniv1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: one(w, "", corev1.TaintEffectNoSchedule)})
		}
	}
	return pod
}

func (w *World) nodeAffinity() *miniv1.NodeAffinity {
	out := &miniv1.NodeAffinity{}
	if w.IntN(3) > 0 {
		out.RequiredDuringSchedulingIgnoredDuringExecution = &miniv1.NodeSelector{NodeSelectorTerms: append(some(w, 1, w.nodeTerm), w.nodeTerm())}
	}
	out.PreferredDuringSchedulingIgnoredDuringExecution = some(w, 2, func() miniv1.PreferredSchedulingTerm {
		return miniv1.PreferredSchedulingTerm{Weight: 1 + w.Int32N(100), Preference: miniv1.NodeSelectorTerm{MatchExpressions: []miniv1.NodeSelectorRequirement{
			{Key: Zone, Operator: corev1.NodeSelectorOpIn, Values: []string{one(w, "z1", "z2", "z3")}}}}}
	})
	return out
}

func (w *World) nodeTerm() miniv1.NodeSelectorTerm {
	if w.IntN(5) == 0 {
		return miniv1.NodeSelectorTerm{MatchFields: []miniv1.NodeFieldRequirement{{Key: metav1.ObjectNameField,
			Operator: one(w, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{fmt.Sprintf("n%d", w.IntN(8))}}}}
	}
	return miniv1.NodeSelectorTerm{MatchExpressions: some(w, 2, func() miniv1.NodeSelectorRequirement {
		return one(w,
			miniv1.NodeSelectorRequirement{Key: Zone, Operator: corev1.NodeSelectorOpIn, Values: []string{"z1", "z3"}},
			miniv1.NodeSelectorRequirement{Key: Rack, Operator: corev1.NodeSelectorOpNotIn, Values: []string{"r1", "r2"}},
			miniv1.NodeSelectorRequirement{Key: Rack, Operator: corev1.NodeSelectorOpExists},
			miniv1.NodeSelectorRequirement{Key: Rack, Operator: corev1.NodeSelectorOpDoesNotExist},
			miniv1.NodeSelectorRequirement{Key: "cores", Operator: corev1.NodeSelectorOpGt, Values: []string{one(w, "3", "4", "few")}},
			miniv1.NodeSelectorRequirement{Key: "cores", Operator: corev1.NodeSelectorOpLt, Values: []string{"8"}})
	})}
}

func (w *World) selector() *miniv1.LabelSelector {
	switch w.IntN(8) {
	case 0:
		return nil
	case 1:
		return &miniv1.LabelSelector{}
	case 2:
		return &miniv1.LabelSelector{MatchExpressions: []miniv1.LabelSelectorRequirement{one(w,
			miniv1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"web", "db"}},
			miniv1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}},
			miniv1.LabelSelectorRequirement{Key: "tier", Operator: metav1.LabelSelectorOpExists},
			miniv1.LabelSelectorRequirement{Key: "tier", Operator: metav1.LabelSelectorOpDoesNotExist})}}
	case 3:
		return &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"app": one[miniv1.LabelValue](w, "web", "db"), "tier": one[miniv1.LabelValue](w, "front", "")}}
	}
	return &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"app": one[miniv1.LabelValue](w, "web", "db", "cache")}}
}

func (w *World) key() string { return one(w, Zone, Rack, corev1.LabelHostname) }

func (w *World) term() miniv1.PodAffinityTerm {
	t := miniv1.PodAffinityTerm{LabelSelector: w.selector(), TopologyKey: w.key()}
	switch w.IntN(5) {
	case 0:
		t.Namespaces = []string{one(w, Namespaces...), one(w, Namespaces...)}
	case 1:
		t.NamespaceSelector = one(w, &miniv1.LabelSelector{}, &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"tier": "front"}},
			&miniv1.LabelSelector{MatchExpressions: []miniv1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}})
		if w.IntN(2) == 0 {
			t.Namespaces = []string{one(w, Namespaces...)}
		}
	}
	if t.LabelSelector != nil && w.IntN(3) == 0 {
		if w.IntN(2) == 0 {
			t.MatchLabelKeys = []string{"version"}
		} else {
			t.MismatchLabelKeys = []string{"version"}
		}
	}
	return t
}

func (w *World) weighted() miniv1.WeightedPodAffinityTerm {
	return miniv1.WeightedPodAffinityTerm{Weight: one[int32](w, 1, 10, 100), PodAffinityTerm: w.term()}
}

func (w *World) spread() (out []miniv1.TopologySpreadConstraint) {
	for _, key := range []string{Zone, Rack, corev1.LabelHostname} {
		if w.IntN(2) == 0 {
			continue
		}
		c := miniv1.TopologySpreadConstraint{MaxSkew: 1 + w.Int32N(3), TopologyKey: key, LabelSelector: w.selector(),
			WhenUnsatisfiable: one(w, corev1.DoNotSchedule, corev1.DoNotSchedule, corev1.ScheduleAnyway)}
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && w.IntN(3) == 0 {
			c.MinDomains = new(1 + w.Int32N(5))
		}
		if w.IntN(2) == 0 {
			c.NodeAffinityPolicy = new(one(w, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore))
		}
		if w.IntN(2) == 0 {
			c.NodeTaintsPolicy = new(one(w, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore))
		}
		if c.LabelSelector != nil && w.IntN(3) == 0 {
			c.MatchLabelKeys = []string{"version"}
		}
		out = append(out, c)
	}
	return out
}
