// Package ipam hands out addresses, ranges of addresses and ports, each to one owner at a time.
//
// The idea: nothing here is stored. What was given stands in the status of the objects it was given to, and an allocator
// is built again from them before it gives anything. Therefore there are two ways in: Reserve, for what an object already
// has or asks for by name, and Allocate, for anything that is free. Both leave a note of the owner, so that a conflict can
// tell who holds the thing.
//
// The algorithm is the same for the three kinds of things: numbered slots, one bit each, searched a word of 64 at a time,
// and a map from the taken slots to their owners. Allocate goes round: it starts after the last slot it gave, so that
// what was released is used again as late as possible, since caches and connections elsewhere may still know it.
//
// What makes it hard is what the caller must do: be the only writer, reserve everything that was given before the first
// allocation, and not release before the object is gone.
//
// All types are safe for concurrent use.
package ipam

import (
	"errors"
	"fmt"
	"math/bits"
)

// ErrExhausted says that nothing is free.
var ErrExhausted = errors.New("nothing is free in the range")

// ConflictError says that somebody else holds what was asked for.
type ConflictError struct {
	// What was asked for, as in "100.96.0.10" or "30080/TCP".
	What string
	// Owner that holds it.
	Owner string
}

func (e *ConflictError) Error() string { return e.What + " is held by " + e.Owner }

// RangeError says that what was asked for is not among what can be given.
type RangeError struct {
	// What was asked for.
	What string
	// Range that can be given.
	Range string
}

func (e *RangeError) Error() string { return fmt.Sprintf("%s is not in the range %s", e.What, e.Range) }

// slots are n numbered places, each free or held by an owner. Not safe for concurrent use.
type slots struct {
	n      int
	used   []uint64
	owners map[int]string
	next   int
}

func newSlots(n int) slots {
	return slots{n: n, used: make([]uint64, (n+63)/64), owners: map[int]string{}}
}

// hold gives slot i to the owner, or returns who has it. Holding what one has is no conflict.
func (s *slots) hold(i int, owner string) (holder string, ok bool) {
	if holder, taken := s.owners[i]; taken {
		return holder, holder == owner
	}
	s.used[i/64] |= 1 << (i % 64)
	s.owners[i] = owner
	return owner, true
}

func (s *slots) release(i int) {
	s.used[i/64] &^= 1 << (i % 64)
	delete(s.owners, i)
}

// take holds the first free slot of [from, to) at or after start, going round inside [from, to).
func (s *slots) take(from, to, start int, owner string) (int, bool) {
	i, ok := s.firstFree(start, to)
	if !ok {
		if i, ok = s.firstFree(from, start); !ok {
			return 0, false
		}
	}
	s.hold(i, owner)
	s.next = i + 1
	return i, true
}

// takeNext holds the free slot after the one that was taken last.
func (s *slots) takeNext(owner string) (int, bool) {
	if s.next >= s.n {
		s.next = 0
	}
	return s.take(0, s.n, s.next, owner)
}

// takeRandom holds a free slot at random. The first `static` slots are used only when the others are taken, so that those
// who ask for a slot by number find one.
func (s *slots) takeRandom(static int, random func(n int) int, owner string) (int, bool) {
	if s.n > static {
		if i, ok := s.take(static, s.n, static+random(s.n-static), owner); ok {
			return i, true
		}
	}
	return s.take(0, min(static, s.n), 0, owner)
}

// firstFree finds the first free slot of [from, to).
func (s *slots) firstFree(from, to int) (int, bool) {
	for i := from; i < to; {
		free := ^s.used[i/64] >> (i % 64)
		if free == 0 {
			i = (i/64 + 1) * 64
			continue
		}
		i += bits.TrailingZeros64(free)
		return i, i < to
	}
	return 0, false
}

// staticBand is how many of n slots are kept for those who ask by number, as long as there are others: a sixteenth, at
// least 16 and at most 256, the rule that Kubernetes has for its service range.
func staticBand(n int) int {
	if n < 32 {
		return 0
	}
	return min(max(16, n/16), 256)
}
