package framework

// Slots is a set of nodes, by their slots in the cache. A nil one is empty.
type Slots struct{ words []uint64 }

// Add puts a node into the set.
func (s *Slots) Add(slot int32) {
	for len(s.words) <= int(slot/64) {
		s.words = append(s.words, 0)
	}
	s.words[slot/64] |= 1 << (slot % 64)
}

// Has tells whether a node is in the set.
func (s *Slots) Has(slot int32) bool {
	return s != nil && int(slot/64) < len(s.words) && s.words[slot/64]&(1<<(slot%64)) != 0
}
