package constraints

import (
	"strings"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// ask finds the counter of a question, or makes it: by counting once.
func (b *Book) ask(q question, who []*framework.Selection, where func(node *framework.NodeInfo) bool) *tally {
	t, known := b.asked[q]
	if !known {
		b.makeRoom()
		t = &tally{topology: b.topology(q.key), who: who, living: q.living, count: map[place]int64{}}
		if where != nil {
			t.where = &region{allows: where, nodes: map[place]int32{}, levels: map[int64]int32{}}
		}
		b.asked[q] = t
		b.count(t)
	}
	t.used = b.now
	return t
}

// count counts for the first time. Of several selections all must mean a MiniPod, so that it is enough to look where the first does.
func (b *Book) count(t *tally) {
	t.topology.tallies = append(t.topology.tallies, t)
	first := t.who[0]
	b.about.add(first, t)
	take := func(all []*kind) {
		for _, k := range all {
			if t.means(k) {
				t.kinds, k.tallies = append(t.kinds, k), append(k.tallies, t)
			}
		}
	}
	if first.ByLabels != nil {
		for _, all := range b.inNamespace {
			take(all)
		}
	} else {
		for _, name := range first.Names {
			take(b.inNamespace[name])
		}
	}
	if t.where != nil {
		for slot := range b.nodes {
			t.enter(int32(slot), &b.nodes[slot])
		}
		return
	}
	for _, k := range t.kinds {
		for slot, n := range k.at {
			t.add(slot, n)
		}
	}
}

// makeRoom drops the question that was not asked for the longest time, if there are too many.
func (b *Book) makeRoom() {
	if len(b.asked) < maxAsked {
		return
	}
	var oldest *tally
	var its question
	for q, t := range b.asked {
		if oldest == nil || t.used < oldest.used {
			oldest, its = t, q
		}
	}
	b.drop(its, oldest)
}

func (b *Book) drop(q question, t *tally) {
	delete(b.asked, q)
	b.about.remove(t.who[0], t)
	for _, k := range t.kinds {
		k.tallies = without(k.tallies, t)
	}
	b.leaveTopology(t)
}

// askAbout counts the MiniPods that all the terms mean, by the key of one of them.
func (b *Book) askAbout(key string, terms ...framework.Term) *tally {
	if len(terms) == 1 {
		return b.ask(question{key: key, who: terms[0].Text()}, []*framework.Selection{terms[0].Selection}, nil)
	}
	texts, who := make([]string, len(terms)), make([]*framework.Selection, len(terms))
	for i := range terms {
		texts[i], who[i] = terms[i].Text(), terms[i].Selection
	}
	return b.ask(question{key: key, who: strings.Join(texts, "&")}, who, nil)
}

// askSpread counts for a constraint: only on nodes that count for the Pod, and not those that are being deleted. As in kube-scheduler, a selector that
// means all counts none.
func (b *Book) askSpread(pod *framework.Pod, s *framework.Spread) *tally {
	who := s.Selection
	if who.MeansAll() {
		who = framework.Nobody()
	}
	return b.ask(question{key: s.TopologyKey, who: who.Text(), nodes: s.Nodes, living: true}, []*framework.Selection{who}, nodesOf(pod, s))
}

// meet finds the kind of a MiniPod that need not be there.
func (b *Book) meet(pod *framework.Pod) *kind {
	key := keyOf(pod)
	if k, known := b.kinds[key]; known {
		return k
	}
	k, known := b.strangers[key]
	if !known {
		if len(b.strangers) >= maxStrangers {
			clear(b.strangers)
		}
		k = b.newKind(pod, key)
		b.strangers[key] = k
	}
	return k
}

// concerning lists the terms of others that concern a MiniPod.
func (b *Book) concerning(pod *framework.Pod) []*carried {
	k := b.meet(pod)
	if k.version == b.version {
		return k.concerned
	}
	k.concerned, k.version = k.concerned[:0], b.version
	for c := range b.warns.of(k.namespace) {
		if c.term.MeansNamespace(k.namespace, k.namespaceLabels) && c.term.MeansLabels(k.labels) {
			k.concerned = append(k.concerned, c)
		}
	}
	return k.concerned
}

// Repelled tells whether a MiniPod may not go everywhere because of the anti-affinity of others.
func (b *Book) Repelled(pod *framework.Pod) bool {
	for _, c := range b.concerning(pod) {
		if c.term.Weight == 0 {
			return true
		}
	}
	return false
}

// Far tells whether MiniPods that are there have terms about namespaces by their labels.
func (b *Book) Far() bool { return len(b.warns.wide) > 0 }
