package cache

import "miniplane.dev/miniplane/internal/sched/framework"

// Snapshot is a copy of all nodes that stays as it is until it is updated. A node keeps its slot. The zero value is an
// empty snapshot. It belongs to one reader.
type Snapshot struct {
	// Nodes by slot; where !Exists() there is none.
	Nodes []framework.NodeInfo
	// Known is how many exist.
	Known int
	// Carries tells whether MiniPods that are there have something against others, or for them.
	Carries bool

	slots map[string]int32
	// log has the slots that changed, in order; its first element is number base.
	log  []int32
	base int64
}

// Update copies what changed since the last time into the snapshot.
func (c *Cache) Update(s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.update(s)
}

func (c *Cache) update(s *Snapshot) {
	if s.slots == nil {
		s.slots = map[string]int32{}
	}
	for len(s.Nodes) < len(c.nodes) {
		s.Nodes = append(s.Nodes, framework.NodeInfo{})
	}
	for _, slot := range c.dirty {
		c.nodes[slot].dirty = false
		s.put(slot, &c.nodes[slot].NodeInfo)
	}
	c.dirty = c.dirty[:0]
	s.Carries = c.book != nil && c.book.Carries()
	s.trim()
}

// Find is the slot of the node of that name.
func (s *Snapshot) Find(name string) (slot int32, ok bool) {
	slot, ok = s.slots[name]
	return slot, ok
}

// Now is a point in the history of the snapshot, for Since.
func (s *Snapshot) Now() int64 { return s.base + int64(len(s.log)) }

// Since lists the slots that changed after the given point; one can be listed more than once. ok is false when the point
// is too far back to tell.
func (s *Snapshot) Since(point int64) (slots []int32, ok bool) {
	if point < s.base {
		return nil, false
	}
	return s.log[point-s.base:], true
}

func (s *Snapshot) put(slot int32, from *framework.NodeInfo) {
	to := &s.Nodes[slot]
	if to.Exists() {
		s.Known--
	}
	if to.Name != from.Name {
		if at, ok := s.slots[to.Name]; ok && at == slot {
			delete(s.slots, to.Name)
		}
		if from.Name != "" {
			s.slots[from.Name] = slot
		}
	}
	from.CopyInto(to)
	if to.Exists() {
		s.Known++
	}
	s.log = append(s.log, slot)
}

// trim keeps the log shorter than twice the number of nodes: who is further behind than all nodes looks at all nodes.
func (s *Snapshot) trim() {
	if keep := len(s.Nodes); len(s.log) > 2*keep+64 {
		cut := len(s.log) - keep
		s.log = append(s.log[:0], s.log[cut:]...)
		s.base += int64(cut)
	}
}
