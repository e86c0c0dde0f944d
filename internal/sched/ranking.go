package sched

import (
	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// ranking is the order of all nodes for MiniPods of one shape (and group): a heap of those that pass the filters, the best on top.
// It is the answer of a scan over all nodes, kept true by looking again only at nodes that changed since. That is exact,
// because a plugin's verdict depends on nothing but the shape and that node.
type ranking struct {
	// point is how far in the snapshot's history the ranking has followed.
	point int64
	// pod stands for all of the shape and group; what was parsed of it once need not be parsed again.
	pod *framework.Pod
	// used is when the ranking was last asked, counted in decisions.
	used    int64
	entries []rank  // by slot
	heap    []int32 // slots
	// frontier has the places of the heap that a search goes to next.
	frontier []int
	// why no node passes, while nothing changed since that was found out.
	why Decision
}

// rank is the place of one node.
type rank struct {
	score int64
	tie   uint64
	at    int32 // in the heap, counted from 1; 0 is not in it
}

// follow brings the ranking up to date with the snapshot.
func (r *ranking) follow(s *cache.Snapshot, judge func(slot int32) (score int64, tie uint64, ok bool)) {
	changed, ok := s.Since(r.point)
	if ok && len(changed) == 0 {
		return
	}
	r.why = Decision{}
	if !ok || len(changed) > len(s.Nodes) {
		r.rebuild(s, judge)
	} else {
		for len(r.entries) < len(s.Nodes) {
			r.entries = append(r.entries, rank{})
		}
		for _, slot := range changed {
			r.set(slot, judge)
		}
	}
	r.point = s.Now()
}

// best is the slot on top; ok is false when no node passes.
func (r *ranking) best() (slot int32, ok bool) {
	if len(r.heap) == 0 {
		return 0, false
	}
	return r.heap[0], true
}

// behind is how many changes the ranking has not followed.
func (r *ranking) behind(s *cache.Snapshot) int64 { return s.Now() - r.point }

// search finds the slot with the best true score, where the scores of the ranking and more are upper bounds of the true ones, and not all nodes are
// allowed. It looks at no more than limit nodes; ok is false when that was not enough. The score is -1 when none is allowed. The ranking must not be empty.
func (r *ranking) search(limit int, more int64, truth func(slot int32) (score int64, allowed bool)) (slot int32, score int64, ok bool) {
	best := rank{score: -1}
	r.frontier = append(r.frontier[:0], 0)
	for range limit {
		if len(r.frontier) == 0 {
			return slot, best.score, true
		}
		top := r.popFrontier()
		at := r.heap[top]
		if !r.couldBeat(at, more, &best) {
			return slot, best.score, true
		}
		if score, allowed := truth(at); allowed {
			if now := (rank{score: score, tie: r.entries[at].tie}); now.before(&best) {
				slot, best = at, now
			}
		}
		for child := 2*top + 1; child <= 2*top+2 && child < len(r.heap); child++ {
			r.frontier = append(r.frontier, child)
		}
	}
	return 0, 0, false
}

// scan is search without a limit: it looks at all nodes, in any order.
func (r *ranking) scan(more int64, truth func(slot int32) (score int64, allowed bool)) (slot int32, score int64) {
	best := rank{score: -1}
	for _, at := range r.heap {
		if !r.couldBeat(at, more, &best) {
			continue
		}
		if score, allowed := truth(at); allowed {
			if now := (rank{score: score, tie: r.entries[at].tie}); now.before(&best) {
				slot, best = at, now
			}
		}
	}
	return slot, best.score
}

// couldBeat tells whether a node could be better than the best, if its score is no more than what the ranking says and more.
func (r *ranking) couldBeat(at int32, more int64, best *rank) bool {
	bound := rank{score: r.entries[at].score + more, tie: r.entries[at].tie}
	return bound.before(best)
}

// popFrontier takes the best place of the frontier. It has few, so it is searched, not sorted.
func (r *ranking) popFrontier() int {
	best := 0
	for i := range r.frontier {
		if r.before(r.frontier[i], r.frontier[best]) {
			best = i
		}
	}
	top, last := r.frontier[best], len(r.frontier)-1
	r.frontier[best], r.frontier = r.frontier[last], r.frontier[:last]
	return top
}

func (r *ranking) rebuild(s *cache.Snapshot, judge func(int32) (int64, uint64, bool)) {
	if cap(r.entries) < len(s.Nodes) {
		r.entries = make([]rank, len(s.Nodes))
	}
	r.entries, r.heap = r.entries[:len(s.Nodes)], r.heap[:0]
	for slot := range r.entries {
		score, tie, ok := judge(int32(slot))
		r.entries[slot] = rank{score: score, tie: tie}
		if ok {
			r.heap = append(r.heap, int32(slot))
			r.entries[slot].at = int32(len(r.heap))
		}
	}
	for i := len(r.heap)/2 - 1; i >= 0; i-- {
		r.down(i)
	}
}

func (r *ranking) set(slot int32, judge func(int32) (int64, uint64, bool)) {
	e := &r.entries[slot]
	score, tie, ok := judge(slot)
	e.score, e.tie = score, tie
	switch {
	case ok && e.at == 0:
		r.heap = append(r.heap, slot)
		e.at = int32(len(r.heap))
		r.up(len(r.heap) - 1)
	case ok:
		if i := int(e.at - 1); !r.up(i) {
			r.down(i)
		}
	case e.at != 0:
		r.remove(int(e.at - 1))
	}
}

func (r *ranking) remove(i int) {
	last := len(r.heap) - 1
	r.swap(i, last)
	r.entries[r.heap[last]].at = 0
	r.heap = r.heap[:last]
	if i < last && !r.up(i) {
		r.down(i)
	}
}

func (r *ranking) before(i, j int) bool { return r.entries[r.heap[i]].before(&r.entries[r.heap[j]]) }

// before tells whether a is the better place.
func (a *rank) before(b *rank) bool {
	if a.score != b.score {
		return a.score > b.score
	}
	return a.tie < b.tie
}

func (r *ranking) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !r.before(i, parent) {
			break
		}
		r.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (r *ranking) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(r.heap) {
			return
		}
		if child+1 < len(r.heap) && r.before(child+1, child) {
			child++
		}
		if !r.before(child, i) {
			return
		}
		r.swap(i, child)
		i = child
	}
}

func (r *ranking) swap(i, j int) {
	r.heap[i], r.heap[j] = r.heap[j], r.heap[i]
	r.entries[r.heap[i]].at, r.entries[r.heap[j]].at = int32(i+1), int32(j+1)
}

// tieBreak gives each node a place of its own among those with equal scores, different for each shape and seed, so that
// the first node by name is not the first choice of everybody. It is a function, not a dice: the same question has the
// same answer.
func tieBreak(seed uint64, node *framework.NodeInfo) uint64 {
	h := seed
	for i := range len(node.Name) {
		h = (h ^ uint64(node.Name[i])) * 0x100000001b3
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}
