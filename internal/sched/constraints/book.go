// Package constraints counts MiniPods for those that ask about others: podAffinity, podAntiAffinity, topologySpreadConstraints.
//
// The idea: a question is which MiniPods, and which label of nodes tells places apart. The answer is a counter for each place, made when
// the question is first asked and from then on kept by every charge and release; equal MiniPods ask equal questions. So a node
// is judged by looking at a few counters, whatever the number of MiniPods.
//
// The algorithm: a Book has nodes by slot, as the cache has them, and MiniPods by kind (kind.go): those that no selector can tell
// apart. A counter (tally.go) knows its kinds, and a kind its counters; so a selector is asked once for each kind, not for each MiniPod. What MiniPods
// that are there ask of newcomers is counted by term, and a newcomer's kind is matched against the terms once. Limits (limits.go) has the
// counters that matter to one MiniPod, and says of a node whether it can go there, and how well.
//
// What makes it hard: nodes change their labels, which moves what is on them to other places; a spread counts only the nodes that are
// eligible for the MiniPod that asks; and everything has to be dropped again when nobody asks. docs/designs/constraints.md has what else was
// thought of.
//
// A Book is not safe for concurrent use. It lives in the cache, under its lock.
package constraints

import (
	"maps"
	"slices"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// maxStrangers bounds how many kinds are known of which there are no MiniPods.
const maxStrangers = 1024

// maxAsked bounds how many questions are kept counted. A MiniPod asks some hundred at most.
const maxAsked = 1024

// Book has the counters. Make it with New.
type Book struct {
	nodes      []framework.NodeInfo // by slot: name and spec
	namespaces map[string]map[string]string
	topologies map[string]*topology

	kinds       map[kindKey]*kind
	strangers   map[kindKey]*kind // of which there are no MiniPods, for what concerns those to come
	inNamespace map[string][]*kind

	asked map[question]*tally
	about index[*tally]
	now   int64 // counts who asked

	carried map[carriedKey]*carried
	warns   index[*carried] // those about MiniPods of a namespace
	version int64           // of carried, from 1

	limits Limits // of the last that asked
}

// question is what is counted.
type question struct {
	key   string // of the topology
	who   string
	nodes string // which count
	// living leaves out MiniPods that are being deleted.
	living bool
}

// carried is a term that MiniPods have which are there.
type carried struct {
	term framework.Carried
	*tally
	many int // carry it
}

type carriedKey struct {
	key, who string
	weight   int64
}

// New makes a Book in which nothing is. It looks up the labels of namespaces in the map, which is the caller's.
func New(namespaces map[string]map[string]string) *Book {
	return &Book{namespaces: namespaces, topologies: map[string]*topology{}, kinds: map[kindKey]*kind{}, strangers: map[kindKey]*kind{},
		inNamespace: map[string][]*kind{},
		asked:       map[question]*tally{}, about: newIndex[*tally](), carried: map[carriedKey]*carried{}, warns: newIndex[*carried](), version: 1}
}

// SetNode takes up the node in a slot, new, changed, or gone (a nil spec). It reports whether that may change what MiniPods may do that
// look at others.
func (b *Book) SetNode(slot int32, name string, spec *framework.NodeSpec) (moved bool) {
	for len(b.nodes) <= int(slot) {
		b.nodes = append(b.nodes, framework.NodeInfo{})
	}
	node := &b.nodes[slot]
	if node.Name == name && samePlace(node.Spec, spec) {
		node.Spec = spec
		return false
	}
	for _, topology := range b.topologies {
		for _, t := range topology.tallies {
			t.leave(slot)
		}
	}
	node.Name, node.Spec = name, spec
	for _, topology := range b.topologies {
		topology.put(slot, node)
		for _, t := range topology.tallies {
			t.enter(slot, node)
		}
	}
	return true
}

// samePlace tells whether two specs are the same to all counters.
func samePlace(a, b *framework.NodeSpec) bool {
	if a == nil || b == nil {
		return a == b
	}
	return maps.Equal(a.Labels, b.Labels) &&
		slices.EqualFunc(a.Taints, b.Taints, func(a, b framework.Taint) bool { return a.Text == b.Text })
}

// Charge counts a MiniPod on a node.
func (b *Book) Charge(pod *framework.Pod, slot int32) {
	k := b.kind(pod)
	k.at[slot]++
	for _, t := range k.tallies {
		t.add(slot, 1)
	}
	if pod.Around == nil {
		return
	}
	for i := range pod.Around.Carried {
		c := b.carry(&pod.Around.Carried[i])
		c.many++
		c.carriers[slot]++
		c.add(slot, 1)
	}
}

// Release counts a MiniPod no more that was charged on the node.
func (b *Book) Release(pod *framework.Pod, slot int32) {
	k := b.kind(pod)
	for _, t := range k.tallies {
		t.add(slot, -1)
	}
	if k.at[slot]--; k.at[slot] == 0 {
		delete(k.at, slot)
	}
	if len(k.at) == 0 {
		b.forget(k)
	}
	if pod.Around == nil {
		return
	}
	for i := range pod.Around.Carried {
		c := b.carry(&pod.Around.Carried[i])
		c.add(slot, -1)
		if c.carriers[slot]--; c.carriers[slot] == 0 {
			delete(c.carriers, slot)
		}
		if c.many--; c.many == 0 {
			b.lay(c)
		}
	}
}

// kind is that of a MiniPod that is charged.
func (b *Book) kind(pod *framework.Pod) *kind {
	key := keyOf(pod)
	if k, known := b.kinds[key]; known {
		return k
	}
	k := b.newKind(pod, key)
	b.kinds[key] = k
	b.inNamespace[k.namespace] = append(b.inNamespace[k.namespace], k)
	for t := range b.about.of(k.namespace) {
		if t.means(k) {
			t.kinds, k.tallies = append(t.kinds, k), append(k.tallies, t)
		}
	}
	return k
}

func (b *Book) newKind(pod *framework.Pod, key kindKey) *kind {
	return &kind{key: key, namespace: pod.Namespace, namespaceLabels: b.namespaces[pod.Namespace], labels: pod.Labels, ending: pod.Ending, at: map[int32]int64{}}
}

// forget drops a kind of which there are no MiniPods.
func (b *Book) forget(k *kind) {
	for _, t := range k.tallies {
		t.kinds = without(t.kinds, k)
	}
	delete(b.kinds, k.key)
	if b.inNamespace[k.namespace] = without(b.inNamespace[k.namespace], k); len(b.inNamespace[k.namespace]) == 0 {
		delete(b.inNamespace, k.namespace)
	}
}

// carry finds the term that a MiniPod carries, and lay drops one that nobody carries.
func (b *Book) carry(term *framework.Carried) *carried {
	key := keyOfTerm(term)
	if c, known := b.carried[key]; known {
		return c
	}
	c := &carried{term: *term, tally: &tally{topology: b.topology(term.TopologyKey), carriers: map[int32]int64{}, count: map[place]int64{}}}
	c.topology.tallies = append(c.topology.tallies, c.tally)
	b.carried[key] = c
	b.warns.add(term.Selection, c)
	b.version++
	return c
}

func (b *Book) lay(c *carried) {
	delete(b.carried, keyOfTerm(&c.term))
	b.warns.remove(c.term.Selection, c)
	b.version++
	b.leaveTopology(c.tally)
}

func keyOfTerm(term *framework.Carried) carriedKey {
	return carriedKey{term.TopologyKey, term.Text(), term.Weight}
}

// Carries tells whether any MiniPod that is there has terms about others, so that those that ask for nothing can be concerned.
func (b *Book) Carries() bool { return len(b.carried) > 0 }

// NamespaceChanged takes up other labels of a namespace.
func (b *Book) NamespaceChanged(name string) {
	for _, k := range b.inNamespace[name] {
		k.namespaceLabels, k.version = b.namespaces[name], 0
	}
	clear(b.strangers)
	for q, t := range b.asked { // those about namespaces by labels are counted anew when somebody asks
		if slices.ContainsFunc(t.who, func(s *framework.Selection) bool { return s.ByLabels != nil }) {
			b.drop(q, t)
		}
	}
}

func (b *Book) topology(key string) *topology {
	t, known := b.topologies[key]
	if !known {
		t = newTopology(key, b.nodes)
		b.topologies[key] = t
	}
	return t
}

func (b *Book) leaveTopology(t *tally) {
	if t.topology.tallies = without(t.topology.tallies, t); len(t.topology.tallies) == 0 {
		delete(b.topologies, t.topology.key)
	}
}
