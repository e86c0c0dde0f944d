package framework

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Around is what a MiniPod asks of the MiniPods around it: spec.affinity.podAffinity, podAntiAffinity and topologySpreadConstraints.
type Around struct {
	// Affinity and AntiAffinity are required.
	Affinity, AntiAffinity []Term
	// Preferred has those of both; what is to be avoided has a negative weight.
	Preferred []WeightedTerm
	// Spread has the constraints of both kinds.
	Spread []Spread
	// Carried is what others hear of this MiniPod while it is there.
	Carried []Carried
	// Excludes are the labels by which it keeps others away.
	Excludes []string
	text     string
}

// Term is MiniPods, and a label of nodes; two nodes with the same value of it are one place.
type Term struct {
	*Selection
	TopologyKey string
}

// WeightedTerm is a Term, and how much each of its MiniPods matters.
type WeightedTerm struct {
	Term
	Weight int64
}

// Carried is a term of a MiniPod that is there, as it concerns others: those that are meant may not come where it is, or should, or should not.
type Carried struct {
	Term
	// Weight is how much they should; negative where they should not; 0 where they may not.
	Weight int64
}

// hardAffinityWeight is how much a MiniPod is drawn to those that require its company; as in kube-scheduler.
const hardAffinityWeight = 1

// Spread is one of the topologySpreadConstraints.
type Spread struct {
	Term
	Hard                bool
	MaxSkew, MinDomains int64
	// HonorAffinity and HonorTaints tell whether nodes are left out that the MiniPod cannot run on for its selector and affinity, or for their taints.
	HonorAffinity, HonorTaints bool
	// Nodes says which nodes count, written down: what the MiniPod asks of nodes, as far as it is honoured, and that they have the keys of all
	// constraints of its kind.
	Nodes string
}

// newAround is nil where nothing is asked for.
func newAround(pod *miniv1.MiniPod) *Around {
	affinity, spread := pod.Spec.Affinity, pod.Spec.TopologySpreadConstraints
	if len(spread) == 0 && (affinity == nil || affinity.PodAffinity == nil && affinity.PodAntiAffinity == nil) {
		return nil
	}
	a := &Around{}
	if affinity != nil && affinity.PodAffinity != nil {
		a.Affinity = terms(pod, affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		a.prefer(pod, affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if affinity != nil && affinity.PodAntiAffinity != nil {
		a.AntiAffinity = terms(pod, affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		a.prefer(pod, affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	for i := range spread {
		a.Spread = append(a.Spread, newSpread(pod, &spread[i]))
	}
	if len(a.Affinity)+len(a.AntiAffinity)+len(a.Preferred)+len(a.Spread) == 0 {
		return nil
	}
	for _, t := range a.AntiAffinity {
		a.Carried = append(a.Carried, Carried{Term: t})
	}
	for _, t := range a.Affinity {
		a.Carried = append(a.Carried, Carried{Term: t, Weight: hardAffinityWeight})
	}
	for _, t := range a.Preferred {
		a.Carried = append(a.Carried, Carried(t))
	}
	a.Excludes = keysOf(a.AntiAffinity)
	text, _ := json.Marshal([]any{a.Affinity, a.AntiAffinity, a.Preferred, a.Spread}) // strings and numbers: there is no error
	a.text = string(text)
	return a
}

func terms(pod *miniv1.MiniPod, all []miniv1.PodAffinityTerm) []Term {
	out := make([]Term, 0, len(all))
	for i := range all {
		out = append(out, newTerm(pod, &all[i]))
	}
	return out
}

func (a *Around) prefer(pod *miniv1.MiniPod, all []miniv1.WeightedPodAffinityTerm, sign int64) {
	for i := range all {
		a.Preferred = append(a.Preferred, WeightedTerm{Term: newTerm(pod, &all[i].PodAffinityTerm), Weight: sign * int64(all[i].Weight)})
	}
}

func newTerm(pod *miniv1.MiniPod, t *miniv1.PodAffinityTerm) Term {
	s := Selection{Names: t.Namespaces, ByLabels: nativeSelector(t.NamespaceSelector), Selector: nativeSelector(t.LabelSelector)}
	if len(t.Namespaces) == 0 && t.NamespaceSelector == nil {
		s.Names = []string{pod.Namespace}
	}
	s.addKeys(pod, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
	s.addKeys(pod, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	return Term{Selection: s.made(), TopologyKey: t.TopologyKey}
}

func newSpread(pod *miniv1.MiniPod, c *miniv1.TopologySpreadConstraint) Spread {
	s := Selection{Names: []string{pod.Namespace}, Selector: nativeSelector(c.LabelSelector)}
	s.addKeys(pod, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	out := Spread{Term: Term{Selection: s.made(), TopologyKey: c.TopologyKey}, MaxSkew: int64(c.MaxSkew), MinDomains: 1,
		Hard:          c.WhenUnsatisfiable == corev1.DoNotSchedule,
		HonorAffinity: c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
		HonorTaints:   c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor}
	if c.MinDomains != nil {
		out.MinDomains = int64(*c.MinDomains)
	}
	return out
}

// Keys are the topology keys of the constraints of one kind.
func (a *Around) Keys(hard bool) (out []string) {
	for i := range a.Spread {
		if a.Spread[i].Hard == hard {
			out = append(out, a.Spread[i].TopologyKey)
		}
	}
	return out
}

// honour writes down which nodes count for the constraints of a Pod.
func (a *Around) honour(p *Pod) {
	for i := range a.Spread {
		s := &a.Spread[i]
		s.Nodes = fmt.Sprintf("%q", a.Keys(s.Hard))
		if s.HonorAffinity {
			s.Nodes += fmt.Sprintf("|%q%s", p.NodeSelector, p.NodeAffinity.Text())
		}
		if s.HonorTaints {
			s.Nodes += "|" + p.tolerations()
		}
	}
}

// placesItself tells whether it says where to be among others, so that the MiniPod is not spread besides: it asks for company, or how to be spread.
func (a *Around) placesItself() bool {
	return a != nil && (len(a.Spread) > 0 || len(a.Affinity) > 0 || slices.ContainsFunc(a.Preferred, func(t WeightedTerm) bool { return t.Weight > 0 }))
}

// Requires tells whether anything of it can keep the MiniPod from a node.
func (a *Around) Requires() bool {
	return a != nil && (len(a.Affinity)+len(a.AntiAffinity) > 0 || slices.ContainsFunc(a.Spread, func(s Spread) bool { return s.Hard }))
}

// LooksFar tells whether something is required about MiniPods in namespaces that are told by their labels.
func (a *Around) LooksFar() bool {
	far := func(t Term) bool { return t.ByLabels != nil }
	return a != nil && (slices.ContainsFunc(a.Affinity, far) || slices.ContainsFunc(a.AntiAffinity, far))
}

// MayFollow tells whether the Pod may have somewhere to go now that the other is there: for its company, or since the emptiest place is less empty.
func (p *Pod) MayFollow(other *Pod) bool {
	a := p.Around
	return a != nil && (a.requiresCompanyOf(other) || a.spreadsWith(other))
}

// MayReplace tells whether the Pod may have somewhere to go now that the other is there no more.
func (p *Pod) MayReplace(other *Pod) bool {
	if a := p.Around; a != nil {
		// Where the last of its company has gone, it may be the first.
		if a.requiresCompanyOf(other) || a.spreadsWith(other) || slices.ContainsFunc(a.AntiAffinity, func(t Term) bool { return t.Means(other) }) {
			return true
		}
	}
	return other.Around != nil && slices.ContainsFunc(other.Around.Carried, func(c Carried) bool { return c.Weight == 0 && c.Means(p) })
}

// requiresCompanyOf tells whether all terms mean the other.
func (a *Around) requiresCompanyOf(other *Pod) bool {
	return len(a.Affinity) > 0 && !slices.ContainsFunc(a.Affinity, func(t Term) bool { return !t.Means(other) })
}

func (a *Around) spreadsWith(other *Pod) bool {
	return slices.ContainsFunc(a.Spread, func(s Spread) bool { return s.Hard && s.Means(other) })
}

// asked are the labels of MiniPods that it looks at, where that can keep the MiniPod from a node.
func (a *Around) asked() []string {
	if a == nil {
		return nil
	}
	all := slices.Concat(a.Affinity, a.AntiAffinity)
	for i := range a.Spread {
		all = append(all, a.Spread[i].Term)
	}
	return keysOf(all)
}

// keysOf are the labels of MiniPods that the terms look at, each once.
func keysOf(terms []Term) (out []string) {
	for _, t := range terms {
		if t.Selector == nil {
			continue
		}
		for key := range t.Selector.MatchLabels {
			out = append(out, key)
		}
		for i := range t.Selector.MatchExpressions {
			out = append(out, t.Selector.MatchExpressions[i].Key)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Text is all of it, written down; empty where nothing is asked for.
func (a *Around) Text() string {
	if a == nil {
		return ""
	}
	return a.text
}

// Selection is which MiniPods are meant: in namespaces with these names, or those that are selected by their labels, those that are
// selected by theirs. It is parsed when it is first asked.
type Selection struct {
	Names    []string
	ByLabels *metav1.LabelSelector
	Selector *metav1.LabelSelector

	text   string
	parsed func() parsedSelection
}

type parsedSelection struct{ namespaces, pods labels.Selector }

// made ends the making of a Selection.
func (s Selection) made() *Selection {
	s.Names = slices.Compact(slices.Sorted(slices.Values(s.Names)))
	text, _ := json.Marshal([]any{s.Names, s.ByLabels, s.Selector})
	s.text = string(text)
	byLabels, selector := s.ByLabels, s.Selector
	s.parsed = sync.OnceValue(func() parsedSelection { return parsedSelection{parse(byLabels), parse(selector)} })
	return &s
}

// Nobody means no MiniPod.
func Nobody() *Selection { return Selection{}.made() }

// parse makes nothing select nothing, and so what cannot be understood: a label with such a name or value is on no object.
func parse(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

// addKeys asks for the values that the MiniPod itself has of some labels. As in kube-scheduler, labels that it does not have are not asked for.
func (s *Selection) addKeys(pod *miniv1.MiniPod, keys []string, op metav1.LabelSelectorOperator) {
	if s.Selector == nil {
		return
	}
	for _, key := range keys {
		if value, ok := pod.Labels[key]; ok {
			s.Selector.MatchExpressions = append(s.Selector.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
		}
	}
}

// Text is all of it, written down.
func (s *Selection) Text() string { return s.text }

// MeansLabels tells whether the labels are those of a MiniPod that is meant, if its namespace is.
func (s *Selection) MeansLabels(of map[string]string) bool {
	return s.parsed().pods.Matches(labels.Set(of))
}

// MeansAll tells whether it selects whatever labels a MiniPod has.
func (s *Selection) MeansAll() bool { return s.parsed().pods.Empty() }

// MeansNamespace tells whether a namespace with these labels is meant.
func (s *Selection) MeansNamespace(name string, of map[string]string) bool {
	if _, named := slices.BinarySearch(s.Names, name); named {
		return true
	}
	return s.ByLabels != nil && s.parsed().namespaces.Matches(labels.Set(of))
}

// Means tells whether the MiniPod may be meant, whatever the labels of its namespace are.
func (s *Selection) Means(pod *Pod) bool {
	_, named := slices.BinarySearch(s.Names, pod.Namespace)
	return (named || s.ByLabels != nil) && s.MeansLabels(pod.Labels)
}

func nativeSelector(s *miniv1.LabelSelector) *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	out := &metav1.LabelSelector{}
	if len(s.MatchLabels) > 0 {
		out.MatchLabels = make(map[string]string, len(s.MatchLabels))
		for key, value := range s.MatchLabels {
			out.MatchLabels[key] = string(value)
		}
	}
	for _, r := range s.MatchExpressions {
		out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{Key: r.Key, Operator: r.Operator, Values: r.Values})
	}
	return out
}
