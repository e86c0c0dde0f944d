package daemonplan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/builders"
)

// sim plays a cluster around the planner: one set, its nodes, and whoever moves its MiniPods. Each step a plan is made, a random part of it is
// carried out, as by a manager that dies, and then others move at random.
type sim struct {
	t         *testing.T
	rand      *rand.Rand
	set       *miniv1.MiniDaemonSet
	nodes     map[string]*corev1.Node
	pods      []*miniv1.MiniPod
	revisions []*appsv1.ControllerRevision
	failures  *daemonplan.Failures
	now       time.Time
	born      int
	log       strings.Builder
}

func newSim(t *testing.T, seed uint64, nodes int) *sim {
	s := &sim{t: t, rand: rand.New(rand.NewPCG(seed, 7)), set: newSet(), nodes: map[string]*corev1.Node{},
		failures: daemonplan.NewFailures(), now: start}
	for i := range nodes {
		s.node(fmt.Sprintf("n%d", i))
	}
	switch s.rand.IntN(4) {
	case 0:
		rolling("0", fmt.Sprint(1+s.rand.IntN(3)))(s.set)
	case 1:
		rolling("0", "30%")(s.set)
	default:
		rolling(fmt.Sprint(1+s.rand.IntN(3)), "0")(s.set)
	}
	return s
}

func (s *sim) node(name string) {
	s.nodes[name] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"lane": "yes"}}}
}

func (s *sim) logf(format string, args ...any) {
	fmt.Fprintf(&s.log, "%v ", s.now.Sub(start))
	fmt.Fprintf(&s.log, format+"\n", args...)
}

func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), s.log.String())
}

func (s *sim) observe() daemonplan.Observed {
	seen := daemonplan.Observed{Set: s.set, Pods: s.pods, Revisions: s.revisions, Retry: s.failures.Retry(key, s.now), Now: s.now}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		seen.Nodes = append(seen.Nodes, daemonplan.Node{Core: s.nodes[name]})
	}
	return seen
}

var key = types.NamespacedName{Namespace: "ns", Name: "web"}

// pass makes a plan and carries it out, each write with some chance only unless whole. It reports whether there was anything to do.
func (s *sim) pass(whole bool) bool {
	seen := s.observe()
	plan := daemonplan.Make(seen)
	dies := func() bool { return !whole && s.rand.IntN(4) == 0 }
	if r := plan.Revisions; r.Create != nil {
		if dies() {
			return true
		}
		s.revisions = append(slices.Clone(s.revisions), r.Create)
	} else if r.Renumber != nil {
		if dies() {
			return true
		}
		r.Renumber.Revision = r.Number
	}
	for _, d := range plan.Delete {
		if dies() {
			return true
		}
		if d.Ended && d.Pod.Status.Phase == miniv1.PodFailed {
			s.failures.Note(key, d.Node, s.now)
		}
		s.end(d.Pod)
	}
	for _, node := range plan.Create {
		if dies() {
			return true
		}
		s.born++
		pod := builders.Pod("ns", fmt.Sprintf("web-%d", s.born)).Labels(map[string]string{"app": "web"}).Obj()
		pod.CreationTimestamp = metav1.NewTime(s.now)
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(s.set, miniv1.GroupVersion.WithKind("MiniDaemonSet"))}
		pod.Spec.Containers[0].Image = s.set.Spec.Template.Spec.Containers[0].Image
		daemonplan.Aim(pod, node, plan.Revisions.Hash)
		s.pods = append(slices.Clone(s.pods), pod)
		s.logf("create %s for %s of %s", pod.Name, node, pod.Spec.Containers[0].Image)
		s.checkNode(node)
	}
	s.revisions = slices.DeleteFunc(slices.Clone(s.revisions), func(r *appsv1.ControllerRevision) bool { return slices.Contains(plan.Revisions.Trim, r) })
	return len(plan.Delete)+len(plan.Create) > 0 || plan.Revisions.Create != nil || plan.Again > 0
}

func (s *sim) end(pod *miniv1.MiniPod) {
	at := metav1.NewTime(s.now)
	s.replace(pod, func(pod *miniv1.MiniPod) { pod.DeletionTimestamp = &at })
	s.logf("delete %s on %s", pod.Name, daemonplan.NodeOf(pod))
}

func (s *sim) replace(pod *miniv1.MiniPod, change func(*miniv1.MiniPod)) {
	s.pods = slices.Clone(s.pods)
	i := slices.IndexFunc(s.pods, func(other *miniv1.MiniPod) bool { return other.UID == pod.UID })
	s.pods[i] = pod.DeepCopy()
	change(s.pods[i])
}

// move plays the scheduler and the agents: each MiniPod may take its next step.
func (s *sim) move(chance int) {
	for _, pod := range slices.Clone(s.pods) {
		if s.rand.IntN(chance) > 0 {
			continue
		}
		switch {
		case podstate.IsDeleting(pod):
			s.pods = slices.DeleteFunc(slices.Clone(s.pods), func(other *miniv1.MiniPod) bool { return other.UID == pod.UID })
			s.logf("gone %s", pod.Name)
		case podstate.IsFinished(pod):
		case !podstate.IsBound(pod):
			s.replace(pod, func(pod *miniv1.MiniPod) {
				pod.Status.NodeName, pod.Status.Phase = pod.Spec.NodeName, miniv1.PodPending
			})
		case !podstate.IsReady(pod):
			s.replace(pod, func(pod *miniv1.MiniPod) {
				pod.Status = builders.Pod("", "").Node(pod.Status.NodeName).ReadySince(s.now).Obj().Status
			})
			s.logf("ready %s", pod.Name)
		}
	}
	s.now = s.now.Add(4 * time.Second)
}

// disturb does what people, tenants and machines do.
func (s *sim) disturb() {
	name := fmt.Sprintf("n%d", s.rand.IntN(8))
	node := s.nodes[name]
	switch what := s.rand.IntN(12); {
	case what == 0:
		s.image(fmt.Sprintf("v%d", 1+s.rand.IntN(3)))
	case what == 1 && node != nil:
		delete(s.nodes, name)
		s.pods = slices.DeleteFunc(slices.Clone(s.pods), func(pod *miniv1.MiniPod) bool { return pod.Status.NodeName == name }) // as the node controller does
		s.logf("node %s is gone", name)
	case what == 2 && node == nil:
		s.node(name)
		s.logf("node %s comes", name)
	case what < 5 && node != nil:
		effects := []corev1.TaintEffect{"", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule}
		node = node.DeepCopy()
		node.Spec.Taints = nil
		if effect := effects[s.rand.IntN(4)]; effect != "" {
			node.Spec.Taints = []corev1.Taint{{Key: "team", Effect: effect}}
		}
		s.nodes[name] = node
		s.logf("node %s: %v", name, node.Spec.Taints)
	case what == 5:
		s.set = s.set.DeepCopy()
		s.set.Spec.Template.Spec.NodeSelector = []map[string]string{nil, {"lane": "yes"}}[s.rand.IntN(2)]
	case len(s.pods) == 0:
	case what < 9:
		pod := s.pods[s.rand.IntN(len(s.pods))]
		if podstate.IsBound(pod) && podstate.IsActive(pod) {
			phase := []miniv1.MiniPodPhase{miniv1.PodFailed, miniv1.PodSucceeded}[s.rand.IntN(2)]
			s.replace(pod, func(pod *miniv1.MiniPod) { pod.Status.Phase, pod.Status.Conditions = phase, nil })
			s.logf("%s %s", phase, pod.Name)
		}
	default:
		if pod := s.pods[s.rand.IntN(len(s.pods))]; !podstate.IsDeleting(pod) {
			s.end(pod)
		}
	}
}

func (s *sim) image(image string) {
	s.set = s.set.DeepCopy()
	s.set.Generation++
	s.set.Spec.Template.Spec.Containers[0].Image = image
	s.logf("image %s", image)
}

func (s *sim) surge() bool { surge, _ := daemonplan.Bounds(s.set, 1); return surge > 0 }

// checkNode holds, at every creation, that no node has two MiniPods of one revision, nor two at all where the update is in place.
func (s *sim) checkNode(node string) {
	s.t.Helper()
	live, ending, of := 0, 0, map[string]int{}
	for _, pod := range s.pods {
		switch {
		case daemonplan.NodeOf(pod) != node || podstate.IsFinished(pod):
		case podstate.IsDeleting(pod):
			ending++
		default:
			live++
			if of[pod.Labels[appsv1.ControllerRevisionHashLabelKey]]++; of[pod.Labels[appsv1.ControllerRevisionHashLabelKey]] > 1 {
				s.fail("two of one revision on %s", node)
			}
		}
	}
	if live > 2 || !s.surge() && live+ending > 1 {
		s.fail("%d and %d ending on %s", live, ending, node)
	}
}

// serving are the nodes with a MiniPod that is available, and doubled those with two.
func (s *sim) serving() (serving, doubled int) {
	for name := range s.nodes {
		available, live := false, 0
		for _, pod := range s.pods {
			if daemonplan.NodeOf(pod) == name && podstate.IsActive(pod) {
				live++
				ok, _ := podstate.IsAvailable(pod, 10*time.Second, s.now)
				available = available || ok
			}
		}
		if available {
			serving++
		}
		if live > 1 {
			doubled++
		}
	}
	return serving, doubled
}

// settled holds, when nothing happens any more, that every node has what it should have.
func (s *sim) settled() {
	s.t.Helper()
	for name, node := range s.nodes {
		answer := daemonplan.Answer(s.set, daemonplan.Node{Core: node})
		var images []string
		for _, pod := range s.pods {
			if daemonplan.NodeOf(pod) == name {
				images = append(images, pod.Spec.Containers[0].Image)
			}
		}
		wanted := s.set.Spec.Template.Spec.Containers[0].Image
		switch got := strings.Join(images, " "); {
		case answer == 0 && got != wanted, answer == 1 && len(images) > 1, answer == 2 && got != "":
			s.fail("%s (answer %d) has %q in the end, wanted %s", name, answer, got, wanted)
		}
	}
	for _, pod := range s.pods {
		if s.nodes[daemonplan.NodeOf(pod)] == nil {
			s.fail("%s is left", pod.Name)
		}
	}
}

func (s *sim) settle() {
	s.t.Helper()
	for range 400 {
		busy := s.pass(true)
		before := s.pods
		if s.move(1); !busy && slices.Equal(before, s.pods) {
			s.settled()
			return
		}
	}
	s.fail("does not settle")
}

// Whatever happens, and wherever the manager dies, no node has two of one revision, and in the end each has what it should have.
func TestAnythingSettles(t *testing.T) {
	for seed := range uint64(60) {
		s := newSim(t, seed, 6)
		for range 60 {
			if s.rand.IntN(3) == 0 {
				s.disturb()
			}
			s.pass(false)
			s.move(2)
		}
		s.settle()
	}
}

// An update alone takes no more away, and adds no more, than its bounds say, wherever the manager dies.
func TestBoundsOfUpdates(t *testing.T) {
	for seed := range uint64(60) {
		s := newSim(t, seed, 7)
		s.settle()
		surge, unavailable := daemonplan.Bounds(s.set, len(s.nodes))
		s.image("v3")
		for i := range 200 {
			if i == 20 && seed%3 == 0 {
				s.image("v4") // overtaken by the next
			}
			s.pass(false)
			if serving, doubled := s.serving(); serving < len(s.nodes)-unavailable || doubled > surge {
				s.fail("%d of %d serve, %d doubled; bounds %d unavailable, %d surge", serving, len(s.nodes), doubled, unavailable, surge)
			}
			s.move(2)
		}
		s.settle()
	}
}
