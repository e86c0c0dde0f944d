package framework

import (
	"encoding/json"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// NodeAffinity is what a MiniPod asks of nodes in spec.affinity.nodeAffinity. It is parsed when a node is first asked; a ranking asks
// with the same Pod for all of a shape, so that it is parsed once for all of them.
type NodeAffinity struct {
	text   string
	parsed func() *parsedAffinity
}

type parsedAffinity struct {
	required  *nodeaffinity.LazyErrorNodeSelector // nil where nothing is required
	preferred *nodeaffinity.PreferredSchedulingTerms
	weights   int64
}

// newNodeAffinity is nil where nothing is asked for.
func newNodeAffinity(affinity *miniv1.Affinity) *NodeAffinity {
	if affinity == nil || affinity.NodeAffinity == nil {
		return nil
	}
	asked := affinity.NodeAffinity
	if asked.RequiredDuringSchedulingIgnoredDuringExecution == nil && len(asked.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	text, _ := json.Marshal(asked) // strings, numbers and lists of them: there is no error
	return &NodeAffinity{text: string(text), parsed: sync.OnceValue(func() *parsedAffinity { return parseAffinity(asked) })}
}

func parseAffinity(asked *miniv1.NodeAffinity) *parsedAffinity {
	p := &parsedAffinity{}
	if required := asked.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		p.required = nodeaffinity.NewLazyErrorNodeSelector(required.Native())
	}
	preferred := asked.PreferredDuringSchedulingIgnoredDuringExecution
	native := make([]corev1.PreferredSchedulingTerm, 0, len(preferred))
	for i := range preferred {
		term := corev1.PreferredSchedulingTerm{Weight: preferred[i].Weight, Preference: preferred[i].Preference.Native()}
		// What cannot be understood, as a number that is none, is preferred nowhere; it must not take the others with it.
		if _, err := nodeaffinity.NewPreferredSchedulingTerms([]corev1.PreferredSchedulingTerm{term}); err == nil {
			native = append(native, term)
		}
		p.weights += int64(term.Weight)
	}
	p.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(native)
	return p
}

// Text is all of it, written down; empty where nothing is asked for.
func (a *NodeAffinity) Text() string {
	if a == nil {
		return ""
	}
	return a.text
}

// Allows tells whether the node is what is required.
func (a *NodeAffinity) Allows(node *NodeInfo) bool {
	if a == nil {
		return true
	}
	required := a.parsed().required
	if required == nil {
		return true
	}
	matches, _ := required.Match(asNode(node)) // terms that cannot be understood match nothing
	return matches
}

// Preference is the weight of the preferences that the node meets, and that of all.
func (a *NodeAffinity) Preference(node *NodeInfo) (weight, of int64) {
	if a == nil {
		return 0, 0
	}
	p := a.parsed()
	if p.weights == 0 {
		return 0, 0
	}
	return p.preferred.Score(asNode(node)), p.weights
}

// asNode has what selectors look at.
func asNode(node *NodeInfo) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Spec.Labels}}
}
