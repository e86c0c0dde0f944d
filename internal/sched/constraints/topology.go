package constraints

import "miniplane.dev/miniplane/internal/sched/framework"

// place is one value of a label of nodes, in short.
type place int32

// nowhere is the place of a node that does not have the label, or does not count.
const nowhere place = -1

// topology is what one label of nodes tells apart.
type topology struct {
	key string
	// at has the place of each node, by slot.
	at []place
	// index has the places by value, values the values of places, nodes how many nodes are in each, and free those that have none any more.
	index  map[string]place
	values []string
	nodes  []int32
	free   []place
	// tallies count by it.
	tallies []*tally
}

func newTopology(key string, nodes []framework.NodeInfo) *topology {
	t := &topology{key: key, index: map[string]place{}}
	for slot := range nodes {
		t.put(int32(slot), &nodes[slot])
	}
	return t
}

// put takes up where a node is now. What is counted there has been taken off before.
func (t *topology) put(slot int32, node *framework.NodeInfo) {
	for len(t.at) <= int(slot) {
		t.at = append(t.at, nowhere)
	}
	value, has := "", false
	if node.Spec != nil {
		value, has = node.Spec.Labels[t.key]
	}
	if was := t.at[slot]; was != nowhere {
		if has && t.values[was] == value {
			return
		}
		t.leave(was)
	}
	t.at[slot] = nowhere
	if has {
		t.at[slot] = t.enter(value)
	}
}

func (t *topology) enter(value string) place {
	p, known := t.index[value]
	if !known {
		if last := len(t.free) - 1; last >= 0 {
			p, t.free = t.free[last], t.free[:last]
		} else {
			p = place(len(t.nodes))
			t.nodes, t.values = append(t.nodes, 0), append(t.values, "")
		}
		t.index[value], t.values[p] = p, value
	}
	t.nodes[p]++
	return p
}

func (t *topology) leave(p place) {
	if t.nodes[p]--; t.nodes[p] > 0 {
		return
	}
	delete(t.index, t.values[p])
	t.free = append(t.free, p)
}
