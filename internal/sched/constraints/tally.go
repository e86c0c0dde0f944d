package constraints

import (
	"slices"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// tally is a counter: how many MiniPods there are in each place of a topology.
//
// Of a question it counts the kinds that are meant; of a term that MiniPods carry, those that carry it.
type tally struct {
	topology *topology

	// who are meant: by each of these. living leaves out those that are being deleted.
	who    []*framework.Selection
	living bool
	kinds  []*kind
	// carriers are how many carry the term, by slot.
	carriers map[int32]int64

	// where tells which nodes count; nil where all with the label do.
	where *region

	count map[place]int64
	total int64
	// used is when it was last asked, by the Book's count.
	used int64
}

// region is nodes that count, and how many places with how many MiniPods they make.
type region struct {
	allows func(node *framework.NodeInfo) bool
	in     []bool // by slot
	nodes  map[place]int32
	levels map[int64]int32
}

// means tells whether MiniPods of the kind are counted.
func (t *tally) means(k *kind) bool {
	if t.living && k.ending {
		return false
	}
	return !slices.ContainsFunc(t.who, func(s *framework.Selection) bool {
		return !s.MeansNamespace(k.namespace, k.namespaceLabels) || !s.MeansLabels(k.labels)
	})
}

// place is where the node is, if it counts.
func (t *tally) place(slot int32) place {
	if int(slot) >= len(t.topology.at) || t.where != nil && !t.where.in[slot] {
		return nowhere
	}
	return t.topology.at[slot]
}

// at is how many are in the place of the node; there is false where it is nowhere.
func (t *tally) at(slot int32) (count int64, there bool) {
	if int(slot) >= len(t.topology.at) || t.topology.at[slot] == nowhere {
		return 0, false
	}
	return t.count[t.topology.at[slot]], true
}

// on is how many are on the node itself.
func (t *tally) on(slot int32) int64 {
	n := t.carriers[slot]
	for _, k := range t.kinds {
		n += k.at[slot]
	}
	return n
}

// most is the greatest number in a place.
func (t *tally) most() (most int64) {
	for _, n := range t.count {
		most = max(most, n)
	}
	return most
}

// add counts more MiniPods on a node, or fewer.
func (t *tally) add(slot int32, n int64) {
	p := t.place(slot)
	if p == nowhere || n == 0 {
		return
	}
	was := t.count[p]
	t.total += n
	if t.count[p] = was + n; was+n == 0 {
		delete(t.count, p)
	}
	if t.where != nil {
		t.where.move(was, was+n)
	}
}

// enter takes up a node and what is on it; leave takes it off.
func (t *tally) enter(slot int32, node *framework.NodeInfo) {
	if t.where != nil {
		t.where.judge(slot, node)
		if p := t.place(slot); p != nowhere {
			if t.where.nodes[p]++; t.where.nodes[p] == 1 {
				t.where.levels[0]++
			}
		}
	}
	t.add(slot, t.on(slot))
}

func (t *tally) leave(slot int32) {
	t.add(slot, -t.on(slot))
	if t.where == nil {
		return
	}
	if p := t.place(slot); p != nowhere {
		if t.where.nodes[p]--; t.where.nodes[p] == 0 {
			delete(t.where.nodes, p)
			t.where.drop(0)
		}
	}
}

// judge notes whether the node counts.
func (r *region) judge(slot int32, node *framework.NodeInfo) {
	for len(r.in) <= int(slot) {
		r.in = append(r.in, false)
	}
	r.in[slot] = node.Spec != nil && r.allows(node)
}

func (r *region) move(from, to int64) {
	r.drop(from)
	r.levels[to]++
}

func (r *region) drop(level int64) {
	if r.levels[level]--; r.levels[level] == 0 {
		delete(r.levels, level)
	}
}

// least is how many there are in the place that has fewest, and 0 where there are less places than that.
func (r *region) least(places int64) int64 {
	if int64(len(r.nodes)) < places {
		return 0
	}
	least, first := int64(0), true
	for level := range r.levels {
		if first || level < least {
			least, first = level, false
		}
	}
	return least
}
