package nodeaffinity_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/nodeaffinity"
	"miniplane.dev/miniplane/test/builders"
)

func is(key string, op corev1.NodeSelectorOperator, values ...string) miniv1.NodeSelectorRequirement {
	return miniv1.NodeSelectorRequirement{Key: key, Operator: op, Values: values}
}

func term(all ...miniv1.NodeSelectorRequirement) miniv1.NodeSelectorTerm {
	return miniv1.NodeSelectorTerm{MatchExpressions: all}
}

func named(op corev1.NodeSelectorOperator, name string) miniv1.NodeSelectorTerm {
	return miniv1.NodeSelectorTerm{MatchFields: []miniv1.NodeFieldRequirement{{Key: "metadata.name", Operator: op, Values: []string{name}}}}
}

func podWith(affinity *miniv1.NodeAffinity) *framework.Pod {
	return framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.Affinity = &miniv1.Affinity{NodeAffinity: affinity} }).Obj())
}

func node() *framework.NodeInfo {
	return &framework.NodeInfo{Name: "n1", Spec: &framework.NodeSpec{Labels: map[string]string{"disk": "ssd", "cores": "8", "zone": "a"}}}
}

func TestFilter(t *testing.T) {
	both := term(is("disk", corev1.NodeSelectorOpIn, "ssd"))
	both.MatchFields = named(corev1.NodeSelectorOpIn, "n2").MatchFields
	cases := []struct {
		name  string
		terms []miniv1.NodeSelectorTerm
		fits  bool
	}{
		{"in", []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpIn, "hdd", "ssd"))}, true},
		{"not in these", []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpIn, "hdd"))}, false},
		{"not in", []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpNotIn, "hdd"))}, true},
		{"a label that is missing is not in", []miniv1.NodeSelectorTerm{term(is("gpu", corev1.NodeSelectorOpNotIn, "x"))}, true},
		{"exists", []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpExists))}, true},
		{"exists not", []miniv1.NodeSelectorTerm{term(is("gpu", corev1.NodeSelectorOpExists))}, false},
		{"does not exist", []miniv1.NodeSelectorTerm{term(is("gpu", corev1.NodeSelectorOpDoesNotExist))}, true},
		{"greater", []miniv1.NodeSelectorTerm{term(is("cores", corev1.NodeSelectorOpGt, "7"))}, true},
		{"not greater", []miniv1.NodeSelectorTerm{term(is("cores", corev1.NodeSelectorOpGt, "8"))}, false},
		{"less", []miniv1.NodeSelectorTerm{term(is("cores", corev1.NodeSelectorOpLt, "9"))}, true},
		{"a missing label is not less", []miniv1.NodeSelectorTerm{term(is("gpus", corev1.NodeSelectorOpLt, "9"))}, false},
		{"a word is not greater", []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpGt, "1"))}, false},
		{"than a word nothing is greater", []miniv1.NodeSelectorTerm{term(is("cores", corev1.NodeSelectorOpGt, "few"))}, false},
		{"what is not understood does not spoil the rest", []miniv1.NodeSelectorTerm{term(is("cores", corev1.NodeSelectorOpGt, "few")),
			term(is("disk", corev1.NodeSelectorOpExists))}, true},
		{"all of a term", []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpExists), is("zone", corev1.NodeSelectorOpIn, "b"))}, false},
		{"one of the terms", []miniv1.NodeSelectorTerm{term(is("zone", corev1.NodeSelectorOpIn, "b")), term(is("disk", corev1.NodeSelectorOpExists))}, true},
		{"an empty term selects nothing", []miniv1.NodeSelectorTerm{{}}, false},
		{"an empty term and one that fits", []miniv1.NodeSelectorTerm{{}, term(is("disk", corev1.NodeSelectorOpExists))}, true},
		{"by name", []miniv1.NodeSelectorTerm{named(corev1.NodeSelectorOpIn, "n1")}, true},
		{"by another name", []miniv1.NodeSelectorTerm{named(corev1.NodeSelectorOpIn, "n2")}, false},
		{"not by name", []miniv1.NodeSelectorTerm{named(corev1.NodeSelectorOpNotIn, "n1")}, false},
		{"label and name", []miniv1.NodeSelectorTerm{both}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := podWith(&miniv1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &miniv1.NodeSelector{NodeSelectorTerms: c.terms}})
			want := framework.Reason{}
			if !c.fits {
				want.Code = framework.NodeAffinityUnmet
			}
			if got := (nodeaffinity.Filter{}).Filter(pod, node()); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if (nodeaffinity.Filter{}).Skip(pod) {
				t.Error("skipped")
			}
		})
	}
}

func TestScore(t *testing.T) {
	prefer := func(weight int32, term miniv1.NodeSelectorTerm) miniv1.PreferredSchedulingTerm {
		return miniv1.PreferredSchedulingTerm{Weight: weight, Preference: term}
	}
	ssd, hdd := term(is("disk", corev1.NodeSelectorOpIn, "ssd")), term(is("disk", corev1.NodeSelectorOpIn, "hdd"))
	cases := []struct {
		name  string
		terms []miniv1.PreferredSchedulingTerm
		want  int64
	}{
		{"none", nil, 0},
		{"met", []miniv1.PreferredSchedulingTerm{prefer(7, ssd)}, framework.MaxScore},
		{"not met", []miniv1.PreferredSchedulingTerm{prefer(7, hdd)}, 0},
		{"by weight", []miniv1.PreferredSchedulingTerm{prefer(30, ssd), prefer(60, hdd), prefer(10, named(corev1.NodeSelectorOpIn, "n1"))}, framework.MaxScore * 4 / 10},
		{"an empty term prefers nothing", []miniv1.PreferredSchedulingTerm{prefer(50, miniv1.NodeSelectorTerm{}), prefer(50, ssd)}, framework.MaxScore / 2},
		{"what is not understood does not spoil the rest", []miniv1.PreferredSchedulingTerm{prefer(50, term(is("cores", corev1.NodeSelectorOpGt, "few"))), prefer(50, ssd)},
			framework.MaxScore / 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := podWith(&miniv1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: c.terms})
			if got := (nodeaffinity.Prefer{}).Score(pod, node()); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
			if got := (nodeaffinity.Filter{}).Filter(pod, node()); got.Code != framework.Fits {
				t.Errorf("a preference refuses: %+v", got)
			}
		})
	}
}

// What nodes are asked for is part of the shape: MiniPods that differ in it do not share verdicts.
func TestShape(t *testing.T) {
	ssd := &miniv1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &miniv1.NodeSelector{NodeSelectorTerms: []miniv1.NodeSelectorTerm{term(is("disk", corev1.NodeSelectorOpExists))}}}
	liked := &miniv1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []miniv1.PreferredSchedulingTerm{{Weight: 1, Preference: term(is("disk", corev1.NodeSelectorOpExists))}}}
	shapes := map[string]bool{}
	for _, affinity := range []*miniv1.NodeAffinity{nil, {}, ssd, liked, ssd.DeepCopy()} {
		shapes[podWith(affinity).Shape] = true
	}
	if len(shapes) != 3 {
		t.Errorf("%d shapes, want 3", len(shapes))
	}
}
