package rollout_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/replicas"
	"miniplane.dev/miniplane/internal/rollout"
)

// sim plays a whole cluster around the planner: one MiniDeployment, its sets, their MiniPods, and whoever moves them. Each
// mover takes one step at a time and sees the others only through what they have written, as in a cluster. Time passes by
// one second per step.
type sim struct {
	t          *testing.T
	deployment *miniv1.MiniDeployment
	sets       []*miniv1.MiniReplicaSet
	pods       []*miniv1.MiniPod
	now        time.Time
	born       int
	broken     map[string]bool // images whose MiniPods never become ready
	log        strings.Builder
	// reached: the lower bound holds only once it was reached. loose: nor do the bounds hold after the wanted number was
	// changed, until they are reached again.
	reached, loose bool
}

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newSim(t *testing.T, replicas int32) *sim {
	t.Helper()
	d := &miniv1.MiniDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-uid", Generation: 1}}
	labels := map[string]string{"app": "web"}
	d.Spec.Replicas = &replicas
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Metadata.Labels = labels
	d.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "v1"}}
	limit := int32(10)
	d.Spec.RevisionHistoryLimit = &limit
	return &sim{t: t, deployment: d, now: start, broken: map[string]bool{}}
}

// change edits the MiniDeployment as a user does, and notes it in the log.
func (s *sim) change(what string, edit func(*miniv1.MiniDeploymentSpec)) {
	edit(&s.deployment.Spec)
	s.deployment.Generation++
	s.logf("user: %s", what)
}

func (s *sim) image(image string) {
	s.change("image "+image, func(spec *miniv1.MiniDeploymentSpec) { spec.Template.Spec.Containers[0].Image = image })
}

func (s *sim) scale(n int32) {
	s.loose = true
	s.change(fmt.Sprintf("replicas %d", n), func(spec *miniv1.MiniDeploymentSpec) { spec.Replicas = &n })
}

func (s *sim) strategy(surge, unavailable intstr.IntOrString) *sim {
	s.deployment.Spec.Strategy = miniv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &miniv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}}
	return s
}

// run lets everybody move in turn until nobody does any more.
func (s *sim) run() {
	for round := 0; ; round++ {
		moved := false
		for _, move := range s.movers() {
			moved = move() || moved
		}
		if !moved {
			s.end()
			return
		}
		if round > 500 {
			s.t.Fatalf("does not end:\n%s", s.log.String())
		}
	}
}

// runRandom lets one mover, drawn by chance, move at a time, until nobody can.
func (s *sim) runRandom(seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 0))
	for step := 0; ; step++ {
		movers := s.movers()
		if movers[chance.IntN(len(movers))]() {
			continue
		}
		if !slices.ContainsFunc(s.movers(), func(move func() bool) bool { return move() }) {
			s.end()
			return
		}
		if step > 5000 {
			s.t.Fatalf("does not end:\n%s", s.log.String())
		}
	}
}

func (s *sim) movers() []func() bool {
	out := []func() bool{s.stepDeployment}
	for _, set := range s.sets {
		out = append(out, func() bool { return s.stepSet(set) })
	}
	return append(out, s.stepPods)
}

func (s *sim) tick() { s.now = s.now.Add(time.Second) }

func (s *sim) stepDeployment() bool {
	s.tick()
	plan := rollout.Make(s.observe())
	result := rollout.Result{Observed: s.observe(), Plan: plan, Selector: "app=web", Now: s.now}
	status, _ := rollout.Status(result)
	moved := plan.Create != nil || len(plan.Changes)+len(plan.Delete) > 0
	if set := plan.Create; set != nil {
		set.UID, set.Generation, set.CreationTimestamp = types.UID(set.Name), 1, metav1.NewTime(s.now)
		s.sets = append(s.sets, set)
		s.logf("create %s with %d: %s", s.name(set), *set.Spec.Replicas, plan.CreateWhy)
	}
	for _, c := range plan.Changes {
		i := slices.Index(s.sets, c.Before)
		s.sets[i] = c.After
		if c.Scales() {
			c.After.Generation++
			s.logf("scale %s %d -> %d: %s", s.name(c.After), c.From(), c.To(), c.Why)
		}
	}
	for _, set := range plan.Delete {
		s.sets = slices.DeleteFunc(s.sets, func(other *miniv1.MiniReplicaSet) bool { return other == set })
		s.logf("delete %s", s.name(set))
	}
	if plan.Waits != "" && !moved {
		s.logf("wait: %s", plan.Waits)
	}
	s.deployment.Status = status
	s.check()
	return moved
}

func (s *sim) observe() rollout.Observed {
	left := map[types.UID]int{}
	for _, pod := range s.pods {
		left[metav1.GetControllerOf(pod).UID]++
	}
	return rollout.Observed{Deployment: s.deployment, Sets: s.sets, PodsLeft: left}
}

// stepSet is a set's controller: it plans with package replicas, and creates and deletes.
func (s *sim) stepSet(set *miniv1.MiniReplicaSet) bool {
	if !slices.Contains(s.sets, set) {
		return false
	}
	s.tick()
	spec := replicas.FromSet(set)
	plan := replicas.Make(spec, s.pods, s.pods)
	for range plan.Create {
		s.born++
		pod := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%03d", set.Name, s.born),
			UID: types.UID(fmt.Sprint(s.born)), Labels: maps.Clone(set.Spec.Template.Metadata.Labels), CreationTimestamp: metav1.NewTime(s.now),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, miniv1.GroupVersion.WithKind("MiniReplicaSet"))}}}
		pod.Spec = *set.Spec.Template.Spec.DeepCopy()
		pod.Status.NodeName, pod.Status.Phase = "node-a", miniv1.PodPending
		s.pods = append(s.pods, pod)
	}
	for _, pod := range plan.Delete {
		now := metav1.NewTime(s.now)
		pod.DeletionTimestamp = &now
	}
	active := slices.DeleteFunc(slices.Clone(s.pods), func(pod *miniv1.MiniPod) bool {
		return !metav1.IsControlledBy(pod, set) || !podstate.IsActive(pod)
	})
	counts, _ := replicas.Count(spec, active, s.now)
	before := set.Status
	set.Status = replicas.Status(set, spec, counts, conditions.Failure{}, s.now)
	s.check()
	return before.Replicas != set.Status.Replicas || before.AvailableReplicas != set.Status.AvailableReplicas ||
		before.ReadyReplicas != set.Status.ReadyReplicas || before.ObservedGeneration != set.Status.ObservedGeneration
}

// stepPods is the nodes: one MiniPod ends, or one becomes ready, the oldest first.
func (s *sim) stepPods() bool {
	s.tick()
	if i := slices.IndexFunc(s.pods, podstate.IsDeleting); i >= 0 {
		s.pods = slices.Delete(slices.Clone(s.pods), i, i+1)
		return true
	}
	for _, pod := range s.pods {
		if podstate.IsReady(pod) || s.broken[pod.Spec.Containers[0].Image] {
			continue
		}
		pod.Status.Phase = miniv1.PodRunning
		conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue,
			Reason: miniv1.ReasonContainersReady, LastTransitionTime: metav1.NewTime(s.now)})
		return true
	}
	return false
}

// check holds what must be true at every moment: never more MiniPods than the upper bound, and, once the lower bound was
// reached, never fewer available than it.
func (s *sim) check() {
	surge, unavailable := rollout.Bounds(s.deployment)
	wanted := rollout.Wanted(s.deployment)
	existing, available := 0, 0
	for _, pod := range s.pods {
		if podstate.IsActive(pod) {
			existing++
			if podstate.IsReady(pod) {
				available++
			}
		}
	}
	recreate := s.deployment.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
	if s.loose && existing <= wanted+surge && available >= wanted-unavailable {
		s.loose = false
	}
	s.reached = s.reached && !s.loose || available >= wanted-unavailable
	if s.loose {
		return
	}
	if existing > wanted+surge {
		s.t.Fatalf("%d MiniPods exist, more than %d + %d:\n%s", existing, wanted, surge, s.log.String())
	}
	if s.reached && !recreate && available < wanted-unavailable {
		s.t.Fatalf("%d MiniPods available, fewer than %d - %d:\n%s", available, wanted, unavailable, s.log.String())
	}
	if images := s.images(); recreate && len(images) > 1 {
		s.t.Fatalf("MiniPods of %v at one time:\n%s", images, s.log.String())
	}
}

func (s *sim) images() []string {
	seen := map[string]bool{}
	for _, pod := range s.pods {
		seen[pod.Spec.Containers[0].Image] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// end logs how it all came out.
func (s *sim) end() {
	status := s.deployment.Status
	s.logf("end: %d replicas, %d updated, %s ready, %d available", status.Replicas, status.UpdatedReplicas, status.ReadySummary, status.AvailableReplicas)
	sets := slices.Clone(s.sets)
	slices.SortFunc(sets, func(a, b *miniv1.MiniReplicaSet) int { return cmp.Compare(rollout.Revision(a), rollout.Revision(b)) })
	for _, set := range sets {
		s.logf("     %s: %d of revision %d%s", s.name(set), set.Status.Replicas, rollout.Revision(set),
			past(set.Annotations[miniv1.RevisionHistoryAnnotation]))
	}
	for _, c := range status.Conditions {
		s.logf("     %s=%s %s: %s", c.Type, c.Status, c.Reason, strings.ReplaceAll(c.Message, "web-"+hash(s.deployment, s.sets), "web-…"))
	}
}

// hash hides hashes in messages, so that the goldens do not depend on them.
func hash(_ *miniv1.MiniDeployment, sets []*miniv1.MiniReplicaSet) string {
	if len(sets) == 0 {
		return "none"
	}
	newest := slices.MaxFunc(sets, func(a, b *miniv1.MiniReplicaSet) int { return cmp.Compare(rollout.Revision(a), rollout.Revision(b)) })
	return strings.TrimPrefix(newest.Name, "web-")
}

func past(history string) string {
	if history == "" {
		return ""
	}
	return ", earlier " + history
}

// name of a set in the log: its image, which says more than a hash.
func (s *sim) name(set *miniv1.MiniReplicaSet) string {
	return set.Spec.Template.Spec.Containers[0].Image
}

// logf writes a line, unless it is the same as the one before.
func (s *sim) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	if !strings.HasSuffix(s.log.String(), "\n"+line) {
		s.log.WriteString(line)
	}
}
