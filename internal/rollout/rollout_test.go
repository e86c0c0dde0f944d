package rollout_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/rollout"
)

func TestBounds(t *testing.T) {
	for name, tc := range map[string]struct {
		replicas           int32
		surge, unavailable *intstr.IntOrString
		wantSurge, wantUn  int
	}{
		"defaults of 4":             {4, nil, nil, 1, 1},
		"defaults of 10":            {10, nil, nil, 3, 2},
		"defaults of 1":             {1, nil, nil, 1, 0},
		"defaults of 0":             {0, nil, nil, 0, 0},
		"numbers":                   {10, new(number(4)), new(number(0)), 4, 0},
		"never more than there are": {2, new(number(0)), new(number(5)), 0, 2},
		"both 0 by rounding":        {3, new(percent("0%")), new(percent("10%")), 0, 1},
		"percentages":               {7, new(percent("50%")), new(percent("50%")), 4, 3},
		"more than all":             {2, new(percent("300%")), new(number(0)), 6, 0},
		"nonsense":                  {4, new(percent("x")), new(number(-1)), 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newSim(t, tc.replicas).deployment
			d.Spec.Strategy.RollingUpdate = &miniv1.RollingUpdateDeployment{MaxSurge: tc.surge, MaxUnavailable: tc.unavailable}
			surge, unavailable := rollout.Bounds(d)
			if surge != tc.wantSurge || unavailable != tc.wantUn {
				t.Errorf("got %d and %d, want %d and %d", surge, unavailable, tc.wantSurge, tc.wantUn)
			}
		})
	}
	d := newSim(t, 8).deployment
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	if surge, unavailable := rollout.Bounds(d); surge != 0 || unavailable != 0 {
		t.Errorf("Recreate: got %d and %d, want 0 and 0", surge, unavailable)
	}
}

func TestHash(t *testing.T) {
	template := func(edit func(*miniv1.MiniPodTemplateSpec)) *miniv1.MiniPodTemplateSpec {
		out := newSim(t, 1).deployment.Spec.Template.DeepCopy()
		edit(out)
		return out
	}
	same := template(func(*miniv1.MiniPodTemplateSpec) {})
	hash := rollout.Hash(same, nil)
	for name, tc := range map[string]struct {
		other *miniv1.MiniPodTemplateSpec
		equal bool
	}{
		"the hash label": {template(func(s *miniv1.MiniPodTemplateSpec) { s.Metadata.Labels[miniv1.PodTemplateHashLabel] = "x" }), true},
		"nil or empty":   {template(func(s *miniv1.MiniPodTemplateSpec) { s.Spec.NodeSelector = map[string]string{} }), true},
		"a label":        {template(func(s *miniv1.MiniPodTemplateSpec) { s.Metadata.Labels["x"] = "y" }), false},
		"an image":       {template(func(s *miniv1.MiniPodTemplateSpec) { s.Spec.Containers[0].Image = "v2" }), false},
	} {
		if got := rollout.Hash(tc.other, nil) == hash; got != tc.equal {
			t.Errorf("%s: same hash is %v, want %v", name, got, tc.equal)
		}
		if got := rollout.SameTemplate(same, tc.other); got != tc.equal {
			t.Errorf("%s: same template is %v, want %v", name, got, tc.equal)
		}
	}
	if one := int32(1); rollout.Hash(same, &one) == hash {
		t.Error("a collision changes no hash")
	}
	if len(hash) > 10 || strings.ToLower(hash) != hash {
		t.Errorf("hash %q cannot end a name", hash)
	}
}

// An amount may be written in several ways; a rollout for nothing would restart everything.
func TestSameTemplateKnowsQuantities(t *testing.T) {
	a, b := newSim(t, 1).deployment.Spec.Template, newSim(t, 1).deployment.Spec.Template
	a.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.5")}
	b.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}
	if !rollout.SameTemplate(&a, &b) {
		t.Error("0.5 and 500m differ")
	}
}

func TestCreatedSet(t *testing.T) {
	s := newSim(t, 3)
	d := s.deployment
	d.Name = strings.Repeat("n", 253)
	d.Annotations = map[string]string{
		"kubernetes.io/change-cause":       "because",
		corev1.LastAppliedConfigAnnotation: "{}",
		miniv1.RevisionAnnotation:          "7",
	}
	d.Spec.MinReadySeconds = 5
	d.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}}
	set := rollout.Make(s.observe()).Create
	hash := rollout.Hash(&d.Spec.Template, nil)
	if len(set.Name) > 247 || !strings.HasSuffix(set.Name, "-"+hash) {
		t.Errorf("name %q", set.Name)
	}
	wantLabels := map[string]string{"app": "web", miniv1.PodTemplateHashLabel: hash}
	for what, got := range map[string]map[string]string{"labels": set.Labels, "template": set.Spec.Template.Metadata.Labels} {
		if diff := cmp.Diff(wantLabels, got); diff != "" {
			t.Errorf("%s (-want,+got):\n%s", what, diff)
		}
	}
	wantAnnotations := map[string]string{"kubernetes.io/change-cause": "because", miniv1.RevisionAnnotation: "1",
		miniv1.DesiredReplicasAnnotation: "3"}
	if diff := cmp.Diff(wantAnnotations, set.Annotations); diff != "" {
		t.Errorf("annotations (-want,+got):\n%s", diff)
	}
	if set.Spec.Selector.MatchLabels[miniv1.PodTemplateHashLabel] != hash || len(set.Spec.Selector.MatchExpressions) != 1 {
		t.Errorf("selector %v", set.Spec.Selector)
	}
	if set.Spec.MinReadySeconds != 5 || !metav1.IsControlledBy(set, d) {
		t.Errorf("minReadySeconds %d, owner %v", set.Spec.MinReadySeconds, set.OwnerReferences)
	}
	if d.Spec.Template.Metadata.Labels[miniv1.PodTemplateHashLabel] != "" || d.Spec.Selector.MatchLabels != nil {
		t.Error("the MiniDeployment itself was changed")
	}
}

// A template without labels is refused elsewhere; here it must not crash.
func TestCreatedSetWithoutLabels(t *testing.T) {
	s := newSim(t, 1)
	s.deployment.Spec.Template.Metadata.Labels = nil
	if set := rollout.Make(s.observe()).Create; len(set.Labels) != 1 {
		t.Errorf("labels %v", set.Labels)
	}
}

func TestDeletedDeploymentDoesNothing(t *testing.T) {
	s := newSim(t, 3)
	now := metav1.NewTime(start)
	s.deployment.DeletionTimestamp = &now
	if plan := rollout.Make(s.observe()); plan.Create != nil || len(plan.Changes)+len(plan.Delete) > 0 {
		t.Errorf("plans %+v", plan)
	}
}

// Of two sets with the wanted template, adopted ones for instance, one is chosen, and the same one ever after.
func TestTwoSetsWithOneTemplate(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	twin := s.sets[0].DeepCopy()
	twin.Name, twin.UID = "web-twin", "twin"
	twin.Annotations = map[string]string{miniv1.RevisionAnnotation: "9"}
	twin.CreationTimestamp = metav1.NewTime(s.now)
	s.sets = append(s.sets, twin)
	s.loose = true
	s.run()
	first, second := s.sets[0], s.sets[1]
	if *first.Spec.Replicas != 4 || *second.Spec.Replicas != 0 || rollout.Revision(first) != 10 {
		t.Errorf("%d of revision %d and %d", *first.Spec.Replicas, rollout.Revision(first), *second.Spec.Replicas)
	}
}

// A set that is being deleted counts for what there may be too many of, not for what is available, and is left alone.
func TestSetBeingDeleted(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	now := metav1.NewTime(s.now)
	s.sets[0].DeletionTimestamp = &now
	s.image("v2")
	plan := rollout.Make(s.observe())
	if len(plan.Changes) != 0 {
		t.Errorf("changes %+v", plan.Changes)
	}
	if plan.Create == nil || *plan.Create.Spec.Replicas != 1 {
		t.Errorf("creates %+v", plan.Create)
	}
}

func TestRecreateWaitsForSetsThatHaveNotSeen(t *testing.T) {
	s := newSim(t, 2)
	recreate(s)
	s.run()
	s.image("v2")
	s.stepDeployment() // scales v1 to 0
	s.sets[0].Status.Replicas = 0
	s.pods = nil
	if plan := rollout.Make(s.observe()); plan.Create != nil || plan.Waits == "" {
		t.Errorf("creates %v, waits %q, though the old set may still create MiniPods", plan.Create, plan.Waits)
	}
	s.sets[0].Status.ObservedGeneration = s.sets[0].Generation
	o := s.observe()
	o.PodsLeft = map[types.UID]int{s.sets[0].UID: 1}
	if plan := rollout.Make(o); plan.Create != nil {
		t.Error("creates while an old MiniPod is ending")
	}
	o.PodsLeft = nil
	if plan := rollout.Make(o); plan.Create == nil {
		t.Error("does not create")
	}
}

// Paused before it ever ran: nothing is created. Paused with nothing running: the newest set takes the scale.
func TestPausedScale(t *testing.T) {
	s := newSim(t, 2)
	s.deployment.Spec.Paused = true
	s.run()
	if len(s.sets) != 0 {
		t.Fatalf("created %v", s.sets)
	}
	for name, edits := range map[string][]func(*sim){
		"current template": {scale(0), pause(true), scale(3)},
		"no template":      {scale(0), pause(true), image("v2"), scale(3)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, 2)
			s.run()
			for _, edit := range edits {
				edit(s)
				s.run()
			}
			if len(s.sets) != 1 || *s.sets[0].Spec.Replicas != 3 {
				t.Errorf("sets %v", s.log.String())
			}
		})
	}
}

// Scaled to 0 in the middle of a rollout, nothing of the surge stays.
func TestShareOfNothing(t *testing.T) {
	s := newSim(t, 4)
	s.run()
	s.broken["v2"] = true
	s.image("v2")
	s.run()
	s.scale(0)
	s.run()
	if len(s.pods) != 0 {
		t.Errorf("%d MiniPods left:\n%s", len(s.pods), s.log.String())
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := newSim(t, 1)
	s.run()
	for i := range 240 {
		s.image([]string{"v2", "v1"}[i%2])
		s.stepDeployment()
	}
	for _, set := range s.sets {
		if n := len(strings.Split(set.Annotations[miniv1.RevisionHistoryAnnotation], ",")); n != 100 {
			t.Errorf("remembers %d revisions, want 100", n)
		}
	}
}
