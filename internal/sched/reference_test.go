package sched_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// reference is what the documentation of Kubernetes says, written down as simply as can be: with a look at every MiniPod for every node.
// It shares nothing with the code under test but the API's types and the tolerations of taints.
type reference struct {
	nodes      map[string]*corev1.Node
	pods       map[string]*bound
	namespaces map[string]map[string]string
	// counted is what was counted for the constraints of the MiniPod at hand.
	counted map[*miniv1.TopologySpreadConstraint]map[string]int
}

type bound struct {
	*miniv1.MiniPod
	node string
}

func selects(s *miniv1.LabelSelector, of map[string]string) bool {
	if s == nil {
		return false
	}
	for key, value := range s.MatchLabels {
		if has, ok := of[key]; !ok || has != string(value) {
			return false
		}
	}
	for _, r := range s.MatchExpressions {
		value, ok := of[r.Key]
		good := map[metav1.LabelSelectorOperator]bool{
			metav1.LabelSelectorOpIn: ok && slices.Contains(r.Values, value), metav1.LabelSelectorOpNotIn: !ok || !slices.Contains(r.Values, value),
			metav1.LabelSelectorOpExists: ok, metav1.LabelSelectorOpDoesNotExist: !ok}[r.Operator]
		if !good {
			return false
		}
	}
	return true
}

// means tells whether the term of one MiniPod means another.
func (w *reference) means(t *miniv1.PodAffinityTerm, of, other *miniv1.MiniPod) bool {
	near := slices.Contains(t.Namespaces, other.Namespace)
	if t.NamespaceSelector != nil {
		near = near || selects(t.NamespaceSelector, w.namespaces[other.Namespace])
	} else if len(t.Namespaces) == 0 {
		near = of.Namespace == other.Namespace
	}
	return near && selects(t.LabelSelector, other.Labels) && sameOf(t.MatchLabelKeys, of, other) && mismatch(t.MismatchLabelKeys, of, other)
}

func sameOf(keys []string, of, other *miniv1.MiniPod) bool {
	for _, key := range keys {
		if mine, ok := of.Labels[key]; ok {
			if theirs, has := other.Labels[key]; !has || theirs != mine {
				return false
			}
		}
	}
	return true
}

func mismatch(keys []string, of, other *miniv1.MiniPod) bool {
	for _, key := range keys {
		if mine, ok := of.Labels[key]; ok {
			if theirs, has := other.Labels[key]; has && theirs == mine {
				return false
			}
		}
	}
	return true
}

// together tells whether two nodes are one place.
func (w *reference) together(a, b, key string) bool {
	if w.nodes[a] == nil || w.nodes[b] == nil {
		return false
	}
	x, hasX := w.nodes[a].Labels[key]
	y, hasY := w.nodes[b].Labels[key]
	return hasX && hasY && x == y
}

func (w *reference) filter(pod *miniv1.MiniPod, node string) framework.Code {
	if code := w.spread(pod, node); code != framework.Fits {
		return code
	}
	affinity := pod.Spec.Affinity
	if affinity == nil {
		affinity = &miniv1.Affinity{}
	}
	if affinity.PodAffinity != nil && !w.company(pod, affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, node) {
		return framework.PodAffinityUnmet
	}
	for _, p := range w.pods {
		if affinity.PodAntiAffinity != nil {
			for _, t := range affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				if w.means(&t, pod, p.MiniPod) && w.together(node, p.node, t.TopologyKey) {
					return framework.PodAntiAffinityUnmet
				}
			}
		}
	}
	for _, p := range w.pods {
		if p.Spec.Affinity != nil && p.Spec.Affinity.PodAntiAffinity != nil {
			for _, t := range p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				if w.means(&t, p.MiniPod, pod) && w.together(node, p.node, t.TopologyKey) {
					return framework.Repelled
				}
			}
		}
	}
	return framework.Fits
}

func (w *reference) company(pod *miniv1.MiniPod, terms []miniv1.PodAffinityTerm, node string) bool {
	meansAll := func(other *miniv1.MiniPod) bool {
		return !slices.ContainsFunc(terms, func(t miniv1.PodAffinityTerm) bool { return !w.means(&t, pod, other) })
	}
	met, anywhere := true, false
	for _, t := range terms {
		if _, has := w.nodes[node].Labels[t.TopologyKey]; !has {
			return false
		}
		here := false
		for _, p := range w.pods {
			if meansAll(p.MiniPod) {
				here = here || w.together(node, p.node, t.TopologyKey)
				anywhere = anywhere || w.together(p.node, p.node, t.TopologyKey)
			}
		}
		met = met && here
	}
	return met || !anywhere && meansAll(pod)
}

func (w *reference) spread(pod *miniv1.MiniPod, node string) framework.Code {
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			continue
		}
		value, has := w.nodes[node].Labels[c.TopologyKey]
		if !has {
			return framework.SpreadLabelMissing
		}
		counts := w.counts(pod, c)
		least, first := 0, true
		for _, n := range counts {
			if first || n < least {
				least, first = n, false
			}
		}
		if c.MinDomains != nil && len(counts) < int(*c.MinDomains) {
			least = 0
		}
		self := 0
		if selects(c.LabelSelector, pod.Labels) {
			self = 1
		}
		if counts[value]+self-least > int(c.MaxSkew) {
			return framework.SkewTooGreat
		}
	}
	return framework.Fits
}

// counts are how many MiniPods there are by domain, of those that are eligible.
func (w *reference) counts(pod *miniv1.MiniPod, c *miniv1.TopologySpreadConstraint) map[string]int {
	if out, known := w.counted[c]; known {
		return out
	}
	out := map[string]int{}
	w.counted[c] = out
	native, text := corev1.Affinity{}, must(json.Marshal(pod.Spec.Affinity))
	must(0, json.Unmarshal(text, &native))
	required := nodeaffinity.NewRequiredNodeAffinity(pod.Spec.NodeSelector, &native)
	for _, node := range w.nodes {
		if !w.eligible(pod, c, node, &required) {
			continue
		}
		out[node.Labels[c.TopologyKey]] += 0
		for _, p := range w.pods {
			everybody := c.LabelSelector != nil && len(c.LabelSelector.MatchLabels)+len(c.LabelSelector.MatchExpressions) == 0 &&
				!slices.ContainsFunc(c.MatchLabelKeys, func(key string) bool { _, has := pod.Labels[key]; return has })
			if p.node == node.Name && p.Namespace == pod.Namespace && p.DeletionTimestamp == nil && !everybody &&
				selects(c.LabelSelector, p.Labels) && sameOf(c.MatchLabelKeys, pod, p.MiniPod) {
				out[node.Labels[c.TopologyKey]]++
			}
		}
	}
	return out
}

func (w *reference) eligible(pod *miniv1.MiniPod, c *miniv1.TopologySpreadConstraint, node *corev1.Node, required *nodeaffinity.RequiredNodeAffinity) bool {
	for _, other := range pod.Spec.TopologySpreadConstraints {
		if _, has := node.Labels[other.TopologyKey]; !has && other.WhenUnsatisfiable == c.WhenUnsatisfiable {
			return false
		}
	}
	if c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
		if fits, _ := required.Match(node); !fits {
			return false
		}
	}
	if c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor {
		for i := range node.Spec.Taints {
			if !taints.Tolerated(pod.Spec.Tolerations, &node.Spec.Taints[i]) && node.Spec.Taints[i].Effect != corev1.TaintEffectPreferNoSchedule {
				return false
			}
		}
	}
	return true
}

// pull is the sum of the weights that draw the MiniPod to a node, and the greatest weight.
func (w *reference) pull(pod *miniv1.MiniPod, node string) (sum, scale int64) {
	weigh := func(of, other *miniv1.MiniPod, t *miniv1.PodAffinityTerm, weight int64, theirs string) {
		if w.means(t, of, other) && w.together(node, theirs, t.TopologyKey) {
			sum += weight
		}
	}
	for _, t := range preferred(pod) {
		scale = max(scale, t.weight, -t.weight)
		for _, p := range w.pods {
			weigh(pod, p.MiniPod, t.term, t.weight, p.node)
		}
	}
	for _, p := range w.pods {
		all := preferred(p.MiniPod)
		if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
			for i := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				all = append(all, weighted{&a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], 1})
			}
		}
		for _, t := range all {
			if w.means(t.term, p.MiniPod, pod) {
				scale = max(scale, t.weight, -t.weight)
			}
			weigh(p.MiniPod, pod, t.term, t.weight, p.node)
		}
	}
	return sum, scale
}

// evenness is the score of the constraints that are preferences.
func (w *reference) evenness(pod *miniv1.MiniPod, node string) (score int64) {
	soft := 0
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable == corev1.DoNotSchedule {
			continue
		}
		value, has := w.nodes[node].Labels[c.TopologyKey]
		if !has {
			return 0
		}
		counts := w.counts(pod, c)
		least := 0
		if len(counts) > 0 {
			least = slices.Min(slices.Collect(maps.Values(counts)))
		}
		soft++
		score += framework.MaxScore * int64(c.MaxSkew) / int64(int(c.MaxSkew)+max(0, counts[value]-least))
	}
	if soft == 0 {
		return 0
	}
	return score / int64(soft)
}

type weighted struct {
	term   *miniv1.PodAffinityTerm
	weight int64
}

func preferred(pod *miniv1.MiniPod) (out []weighted) {
	a := pod.Spec.Affinity
	if a == nil {
		return nil
	}
	if a.PodAffinity != nil {
		for i := range a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
			out = append(out, weighted{&t.PodAffinityTerm, int64(t.Weight)})
		}
	}
	if a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
			out = append(out, weighted{&t.PodAffinityTerm, -int64(t.Weight)})
		}
	}
	return out
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (w *reference) String() string {
	out := ""
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		out += fmt.Sprintf("%s %v %v\n", name, w.nodes[name].Labels, w.nodes[name].Spec.Taints)
	}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		out += fmt.Sprintf("  %s on %s %v %v\n", name, w.pods[name].node, w.pods[name].Labels, w.pods[name].DeletionTimestamp != nil)
	}
	return out
}
