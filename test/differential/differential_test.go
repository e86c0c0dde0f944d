// Package differential asks miniplane's scheduler and kube-scheduler's own plugins the same questions. It is a module of its own, since
// nothing else needs all of Kubernetes.
package differential

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/sched"
	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/test/worlds"
)

// world is the same for both: core Nodes and MiniPods, which are native Pods to one of them.
type world struct {
	t *testing.T
	*worlds.World
	*native
	cache *cache.Cache
	cycle *sched.Cycle
	nodes map[string]*corev1.Node
	pods  map[string]*bound
	// placed and refused are how many MiniPods found a node or none; passed is how often a node was passed over by both.
	placed, refused, passed int
}

type bound struct {
	*miniv1.MiniPod
	node   string
	native *corev1.Pod
}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	profile, err := sched.DefaultProfile(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, World: worlds.New(seed), native: newNative(t), cache: cache.New(), nodes: map[string]*corev1.Node{}, pods: map[string]*bound{}}
	w.cycle = sched.NewCycle(w.cache, profile, seed)
	for _, ns := range worlds.Namespaces {
		w.relabelNamespace(ns)
	}
	for i := range nodes {
		w.setNode(fmt.Sprintf("n%d", i))
	}
	return w
}

func (w *world) relabelNamespace(name string) {
	labels := w.Labels()
	w.cache.SetNamespace(name, labels)
	w.setNamespace(name, labels)
}

// setNode makes a node, or another of one that is there.
func (w *world) setNode(name string) {
	node := w.Node(name)
	node.Spec.Unschedulable = w.IntN(12) == 0
	node.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("4Gi"), "pods": resource.MustParse("12")}
	w.nodes[name] = node
	w.cache.SetMiniNode(name, &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: miniv1.MiniNodeStatus{
		PodCIDR: "100.64.0.0/22", Allocatable: node.Status.Allocatable,
		Conditions: []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue}}}})
	w.cache.SetCoreNode(name, node)
}

func (w *world) dropNode(name string) {
	delete(w.nodes, name)
	w.cache.SetMiniNode(name, nil)
	w.cache.SetCoreNode(name, nil)
	for key, p := range w.pods { // as they are deleted with their node
		if p.node == name {
			w.dropPod(key)
		}
	}
}

func (w *world) dropPod(name string) {
	w.cache.Remove(w.pods[name].UID)
	delete(w.pods, name)
}

func pick[T any](w *world, of map[string]T) string {
	names := slices.Sorted(maps.Keys(of))
	return names[w.IntN(len(names))]
}

// step changes something.
func (w *world) step(nodes int) {
	switch what := w.IntN(10); {
	case what == 0:
		w.setNode(fmt.Sprintf("n%d", w.IntN(nodes)))
	case what == 1 && len(w.nodes) > 2:
		w.dropNode(pick(w, w.nodes))
	case what == 2:
		w.relabelNamespace(worlds.Namespaces[w.IntN(len(worlds.Namespaces))])
	case len(w.pods) == 0:
	case what < 5:
		w.dropPod(pick(w, w.pods))
	case what < 7:
		w.changePod(w.pods[pick(w, w.pods)])
	}
}

// changePod deletes a MiniPod that has not ended yet, or gives it other labels; where its terms ask for its labels that is left out, since kube-scheduler's are
// those that it was made with.
func (w *world) changePod(p *bound) {
	p.MiniPod = p.DeepCopy()
	if w.IntN(2) == 0 || hasKeys(p.MiniPod) {
		p.DeletionTimestamp = &metav1.Time{}
	} else {
		p.Labels = w.Labels()
	}
	w.cache.Bind(framework.NewPod(p.MiniPod), p.node)
	p.native = w.asNative(p.MiniPod, p.node)
}

// hasKeys tells whether a term of the MiniPod has matchLabelKeys or mismatchLabelKeys.
func hasKeys(pod *miniv1.MiniPod) bool {
	has := func(t miniv1.PodAffinityTerm) bool { return len(t.MatchLabelKeys)+len(t.MismatchLabelKeys) > 0 }
	weighted := func(t miniv1.WeightedPodAffinityTerm) bool { return has(t.PodAffinityTerm) }
	a := pod.Spec.Affinity
	return a.PodAffinity != nil && (slices.ContainsFunc(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, has) ||
		slices.ContainsFunc(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, weighted)) ||
		a.PodAntiAffinity != nil && (slices.ContainsFunc(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, has) ||
			slices.ContainsFunc(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, weighted))
}

// asNative is the MiniPod as the native Pod that the API server makes of it.
func (w *world) asNative(pod *miniv1.MiniPod, node string) *corev1.Pod {
	w.t.Helper()
	meta, spec, err := podsecurity.AsPod(pod)
	if err != nil {
		w.t.Fatal(err)
	}
	out := &corev1.Pod{ObjectMeta: *meta, Spec: *spec}
	out.Namespace, out.Name, out.UID, out.Labels, out.DeletionTimestamp = pod.Namespace, pod.Name, pod.UID, pod.Labels, pod.DeletionTimestamp
	out.Spec.NodeName = node
	addKeys := func(t *corev1.PodAffinityTerm) {
		if t.LabelSelector == nil {
			return
		}
		t.LabelSelector = t.LabelSelector.DeepCopy()
		for op, keys := range map[metav1.LabelSelectorOperator][]string{metav1.LabelSelectorOpIn: t.MatchLabelKeys, metav1.LabelSelectorOpNotIn: t.MismatchLabelKeys} {
			for _, key := range keys {
				if value, has := pod.Labels[key]; has {
					t.LabelSelector.MatchExpressions = append(t.LabelSelector.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
				}
			}
		}
	}
	a := out.Spec.Affinity
	if a == nil {
		return out
	}
	if a.PodAffinity != nil {
		eachTerm(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, addKeys)
	}
	if a.PodAntiAffinity != nil {
		eachTerm(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, addKeys)
	}
	return out
}

func eachTerm(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, do func(*corev1.PodAffinityTerm)) {
	for i := range required {
		do(&required[i])
	}
	for i := range preferred {
		do(&preferred[i].PodAffinityTerm)
	}
}

// pod makes a MiniPod that also asks for room and ports.
func (w *world) pod(name string) *miniv1.MiniPod {
	pod := w.Pod(name)
	c := &pod.Spec.Containers[0]
	c.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse([]string{"50m", "300m", "1100m"}[w.IntN(3)]),
		"memory": resource.MustParse([]string{"64Mi", "1Gi"}[w.IntN(2)])}
	if w.IntN(5) == 0 {
		c.Ports = []miniv1.ContainerPort{{ContainerPort: 80, HostPort: 8000 + w.Int32N(2), Protocol: []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}[w.IntN(2)]}}
	}
	return pod
}

// place asks both, compares, and places the MiniPod.
func (w *world) place(pod *miniv1.MiniPod) {
	w.t.Helper()
	own, reasons, scores := sets.New[string](), map[string]framework.Reason{}, map[string]map[string]int64{}
	p := framework.NewPod(pod)
	for _, v := range w.cycle.Explain(p) {
		if reasons[v.Node] = v.Reason; v.Reason.Code == framework.Fits {
			own.Insert(v.Node)
			scores[v.Node] = v.Scores
		}
	}
	asNative := w.asNative(pod, "")
	native, theirs := w.ask(asNative, w.nativePods(), slices.Collect(maps.Values(w.nodes)))
	if !own.Equal(native) {
		w.t.Errorf("%s: here %v, there %v\nreasons %+v\nlabels %v, spec %+v", pod.Name, sets.List(own), sets.List(native), reasons, pod.Labels, asNative.Spec)
		for name, node := range w.nodes {
			w.t.Logf("%s: %v %v", name, node.Labels, node.Spec)
		}
		w.t.FailNow()
	}
	w.passed += len(w.nodes) - len(own)
	for _, name := range []string{"InterPodAffinity", "NodeAffinity"} {
		w.compareOrder(pod, map[string]string{"InterPodAffinity": "PodAffinity", "NodeAffinity": "NodeAffinity"}[name], theirs[name], scores)
	}
	d := w.cycle.Decide(p)
	if (d.Node == "") != (len(native) == 0) || d.Node != "" && !native.Has(d.Node) {
		w.t.Fatalf("%s: chose %q of %v", pod.Name, d.Node, sets.List(native))
	}
	if d.Node == "" {
		w.refused++
		return
	}
	w.placed++
	w.cache.Assume(p, d.Node)
	w.pods[pod.Name] = &bound{pod, d.Node, w.asNative(pod, d.Node)}
}

// compareOrder checks that a score prefers the same nodes.
func (w *world) compareOrder(pod *miniv1.MiniPod, name string, theirs map[string]int64, ours map[string]map[string]int64) {
	w.t.Helper()
	for a := range theirs {
		for b := range theirs {
			if (theirs[a] < theirs[b]) != (ours[a][name] < ours[b][name]) {
				w.t.Fatalf("%s: %s prefers %s to %s differently: %d and %d here, %d and %d there", pod.Name, name, a, b, ours[a][name], ours[b][name], theirs[a], theirs[b])
			}
		}
	}
}

func (w *world) nativePods() (out []*corev1.Pod) {
	for _, p := range w.pods {
		out = append(out, p.native)
	}
	return out
}

// Every node that can take a MiniPod can take it as a native Pod, and the other way round, for all that MiniPods have.
func TestSameNodes(t *testing.T) {
	seeds, pods := uint64(400), 40
	if testing.Short() {
		seeds = 40
	}
	placed, refused, passed := 0, 0, 0
	for seed := range seeds {
		nodes := 3 + int(seed%4)*5
		w := newWorld(t, seed, nodes)
		for i := range pods {
			w.step(nodes + 2)
			w.place(w.pod(fmt.Sprintf("p%d-%d", seed, i)))
		}
		placed, refused, passed = placed+w.placed, refused+w.refused, passed+w.passed
	}
	t.Logf("%d worlds: %d placed, %d found no node; %d times a node was passed over", seeds, placed, refused, passed)
	if placed < 10*int(seeds) || refused < int(seeds) || passed < 50*int(seeds) {
		t.Error("the worlds are too easy or too hard to say much")
	}
}
