package constraints

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/worlds"
)

func spec(labels map[string]string) *framework.NodeSpec {
	return &framework.NodeSpec{Registered: true, Labels: labels}
}

// sizes are how much a Book has of everything.
func (b *Book) sizes() map[string]int {
	return map[string]int{"kinds": len(b.kinds), "namespaces": len(b.inNamespace), "asked": len(b.asked), "about": len(b.about.named) + len(b.about.wide),
		"carried": len(b.carried), "warns": len(b.warns.named) + len(b.warns.wide), "topologies": len(b.topologies)}
}

// When all MiniPods have gone, and nobody asks, nothing is left.
func TestNothingIsLeft(t *testing.T) {
	w := worlds.New(5)
	b := New(map[string]map[string]string{"ns-a": {"tier": "front"}})
	type charged struct {
		pod  *framework.Pod
		slot int32
	}
	var all []charged
	for slot := range int32(20) {
		b.SetNode(slot, fmt.Sprint(slot), spec(w.Node(fmt.Sprint(slot)).Labels))
	}
	for i := range 500 {
		c := charged{framework.NewPod(w.Pod(fmt.Sprint(i))), w.Int32N(24)}
		b.Limits(c.pod, Weights{})
		b.Charge(c.pod, c.slot)
		all = append(all, c)
	}
	if full := b.sizes(); full["kinds"] < 50 || full["asked"] < 50 || full["carried"] < 50 || full["topologies"] != 3 {
		t.Errorf("there should be much: %v", full)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, c := range all {
		b.Release(c.pod, c.slot)
	}
	for q, counter := range b.asked {
		if len(counter.count) != 0 || counter.total != 0 || len(counter.kinds) != 0 {
			t.Errorf("%+v still counts %+v", q, counter)
		}
		b.drop(q, counter)
	}
	if diff := cmp.Diff(New(nil).sizes(), b.sizes()); diff != "" {
		t.Error(diff)
	}
}

// keepsOff is a MiniPod of an application that does not want to be with its like.
func keepsOff(name, app string) *framework.Pod {
	return framework.NewPod(builders.Pod("ns", name).Labels(map[string]string{"app": app}).With(func(p *miniv1.MiniPod) {
		p.Spec.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []miniv1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"app": miniv1.LabelValue(app)}}}}}}
	}).Obj())
}

// More questions than there is room for are counted anew when they are asked again.
func TestQuestionsAreForgotten(t *testing.T) {
	b := New(nil)
	b.SetNode(0, "n0", spec(map[string]string{corev1.LabelHostname: "n0"}))
	for round := range 2 {
		for i := range maxAsked + 100 {
			p := keepsOff(fmt.Sprint(i), fmt.Sprint(i))
			want := framework.Fits
			if round > 0 {
				want = framework.PodAntiAffinityUnmet
			}
			if got := b.Limits(p, Weights{}).Filter(0); got.Code != want {
				t.Fatalf("round %d, %d: %+v", round, i, got)
			}
			if round == 0 {
				b.Charge(p, 0)
			}
		}
		if len(b.asked) != maxAsked {
			t.Errorf("%d questions, want %d", len(b.asked), maxAsked)
		}
	}
}

// Equal MiniPods ask the same questions, and are one kind.
func TestEqualsShare(t *testing.T) {
	b := New(nil)
	for slot := range int32(10) {
		b.SetNode(slot, fmt.Sprint(slot), spec(map[string]string{corev1.LabelHostname: fmt.Sprint(slot)}))
	}
	for i := range 10 {
		p := keepsOff(fmt.Sprint(i), "web")
		b.Limits(p, Weights{})
		b.Charge(p, int32(i))
	}
	want := map[string]int{"kinds": 1, "namespaces": 1, "asked": 1, "about": 1, "carried": 1, "warns": 1, "topologies": 1}
	if diff := cmp.Diff(want, b.sizes()); diff != "" {
		t.Error(diff)
	}
}

// Only what nodes are told apart by is a move.
func TestMoves(t *testing.T) {
	b := New(nil)
	labels := map[string]string{"zone": "a"}
	taint := framework.Taint{Taint: corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}, Text: "gpu:NoSchedule"}
	for _, step := range []struct {
		name string
		spec *framework.NodeSpec
		want bool
	}{
		{"new", spec(labels), true},
		{"the same", spec(map[string]string{"zone": "a"}), false},
		{"ready, and another budget", &framework.NodeSpec{Registered: true, Labels: labels, Ready: true, MaxPods: 5}, false},
		{"another zone", spec(map[string]string{"zone": "b"}), true},
		{"a taint", &framework.NodeSpec{Labels: map[string]string{"zone": "b"}, Taints: []framework.Taint{taint}}, true},
		{"gone", nil, true},
		{"still gone", nil, false},
	} {
		if got := b.SetNode(3, "n", step.spec); got != step.want {
			t.Errorf("%s: moved = %v", step.name, got)
		}
	}
}
