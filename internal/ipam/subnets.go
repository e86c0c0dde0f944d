package ipam

import (
	"net/netip"
	"slices"
	"sync"
)

// Subnets cuts an IPv4 prefix into ranges of one size and hands them out, one to each owner.
type Subnets struct {
	mu     sync.Mutex
	prefix netip.Prefix
	bits   int
	slots  slots
	given  map[string]netip.Prefix // by owner
	in     map[int][]string        // owners by slot: several where they hold smaller ranges than a slot
}

// NewSubnets makes an allocator of ranges of bits mask bits inside the prefix, none of them given. A prefix that is not
// IPv4, or too small for one such range, makes an allocator without any range.
func NewSubnets(prefix netip.Prefix, bits int) *Subnets {
	s := &Subnets{prefix: prefix.Masked(), bits: bits, given: map[string]netip.Prefix{}, in: map[int][]string{}}
	if prefix.IsValid() && prefix.Addr().Is4() && bits >= prefix.Bits() && bits <= 32 {
		s.slots = newSlots(1 << (bits - prefix.Bits()))
	}
	return s
}

// Prefix is the range that is cut.
func (s *Subnets) Prefix() netip.Prefix { return s.prefix }

// Reserve gives this range to the owner, in place of what it held; it may be larger or smaller than what Allocate gives, and
// Allocate gives nothing that it overlaps. Errors, which change nothing: *ConflictError when another owner holds addresses of it,
// *RangeError when it is not inside the prefix.
func (s *Subnets) Reserve(subnet netip.Prefix, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to, ok := s.span(subnet)
	if !ok {
		return &RangeError{What: subnet.String(), Range: s.prefix.String()}
	}
	for i := from; i < to; i++ {
		for _, holder := range s.in[i] {
			if holder != owner && s.given[holder].Overlaps(subnet) {
				return &ConflictError{What: subnet.String(), Owner: holder}
			}
		}
	}
	s.release(owner)
	for i := from; i < to; i++ {
		s.slots.hold(i, owner) // or another does already: it is not free
		s.in[i] = append(s.in[i], owner)
	}
	s.given[owner] = subnet.Masked()
	return nil
}

// Allocate gives the owner the range that it holds, or the next free one after the one allocated last, or ErrExhausted.
func (s *Subnets) Allocate(owner string) (netip.Prefix, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.given[owner]; ok {
		return held, nil
	}
	i, ok := s.slots.takeNext(owner)
	if !ok {
		return netip.Prefix{}, ErrExhausted
	}
	start := number(s.prefix.Addr()) + uint32(i)<<(32-s.bits)
	s.given[owner] = netip.PrefixFrom(address(start), s.bits)
	s.in[i] = []string{owner}
	return s.given[owner], nil
}

// Held tells whether the owner holds a range.
func (s *Subnets) Held(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, held := s.given[owner]
	return held
}

// Around is the range of the size that Allocate gives which has the address; not valid for an address of another family.
func (s *Subnets) Around(addr netip.Addr) netip.Prefix {
	if !addr.Is4() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, s.bits).Masked()
}

// Release makes free what the owner holds.
func (s *Subnets) Release(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(owner)
}

func (s *Subnets) release(owner string) {
	if held, ok := s.given[owner]; ok {
		from, to, _ := s.span(held)
		for i := from; i < to; i++ {
			s.in[i] = slices.DeleteFunc(s.in[i], func(holder string) bool { return holder == owner })
			if len(s.in[i]) == 0 {
				delete(s.in, i)
				s.slots.release(i)
			}
		}
		delete(s.given, owner)
	}
}

// Free counts the ranges that nobody holds.
func (s *Subnets) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots.n - len(s.slots.owners)
}

// span is the slots [from, to) that the subnet overlaps.
func (s *Subnets) span(subnet netip.Prefix) (from, to int, ok bool) {
	if s.slots.n == 0 || !subnet.IsValid() || !subnet.Addr().Is4() {
		return 0, 0, false
	}
	subnet = subnet.Masked()
	if subnet.Bits() < s.prefix.Bits() || !s.prefix.Contains(subnet.Addr()) {
		return 0, 0, false
	}
	from = int((number(subnet.Addr()) - number(s.prefix.Addr())) >> (32 - s.bits))
	return from, from + max(1, 1<<max(0, s.bits-subnet.Bits())), true
}
