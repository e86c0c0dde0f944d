package constraints

import (
	"slices"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// many is from how many counters on they are added up for each place before nodes are asked about. With less, that costs more than it saves.
const many = 8

// sums are what counters come to, by topology, and by what they mean.
type sums []sum

type sum struct {
	topology *topology
	code     framework.Code
	by       []int64 // place
}

// add adds a counter so many times. It uses memory of former sums again.
func (all *sums) add(t *tally, code framework.Code, times int64) {
	i := slices.IndexFunc(*all, func(s sum) bool { return s.topology == t.topology && s.code == code })
	if i < 0 {
		if i = len(*all); i < cap(*all) {
			*all = (*all)[:i+1]
		} else {
			*all = append(*all, sum{})
		}
		s := &(*all)[i]
		s.topology, s.code = t.topology, code
		s.by = slices.Grow(s.by[:0], len(t.topology.nodes))[:len(t.topology.nodes)]
		clear(s.by)
	}
	for place, n := range t.count {
		(*all)[i].by[place] += n * times
	}
}

// at is the sum in the place of a node.
func (s *sum) at(slot int32) int64 {
	if int(slot) >= len(s.topology.at) || s.topology.at[slot] == nowhere {
		return 0
	}
	return s.by[s.topology.at[slot]]
}

// most is the greatest sum, if it is not below 0.
func (s *sum) most() (most int64) {
	for _, n := range s.by {
		most = max(most, n)
	}
	return most
}
