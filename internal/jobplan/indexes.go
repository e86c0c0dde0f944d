package jobplan

import (
	"slices"
	"strconv"
	"strings"
)

// Indexes are numbers, kept as ranges that are in order and do not touch. The zero value has none.
type Indexes []span

// span is a range of numbers, both ends included.
type span struct{ first, last int }

// ParseIndexes reads numbers and ranges such as "0,2-5", of which it takes those below the limit. What cannot be read is left out.
func ParseIndexes(text string, below int) Indexes {
	var out Indexes
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if last = min(last, below-1); err1 == nil && err2 == nil && 0 <= first && first <= last {
			out = append(out, span{first, last})
		}
	}
	return out.normal()
}

// IndexesOf are these numbers.
func IndexesOf(numbers ...int) Indexes {
	out := make(Indexes, len(numbers))
	for i, n := range numbers {
		out[i] = span{n, n}
	}
	return out.normal()
}

// normal brings ranges into order, and joins those that touch. It may change and return the same list.
func (x Indexes) normal() Indexes {
	slices.SortFunc(x, func(a, b span) int { return a.first - b.first })
	var out Indexes
	for _, s := range x {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// With are these and others.
func (x Indexes) With(others Indexes) Indexes { return slices.Concat(x, others).normal() }

// Count is how many there are.
func (x Indexes) Count() (n int) {
	for _, s := range x {
		n += s.last - s.first + 1
	}
	return n
}

// Has tells whether a number is among them.
func (x Indexes) Has(n int) bool {
	at, found := slices.BinarySearchFunc(x, n, func(s span, n int) int { return s.first - n })
	return found || at > 0 && x[at-1].last >= n
}

// Common is how many are in both.
func (x Indexes) Common(other Indexes) (n int) {
	for i, j := 0, 0; i < len(x) && j < len(other); {
		n += max(0, min(x[i].last, other[j].last)-max(x[i].first, other[j].first)+1)
		if x[i].last < other[j].last {
			i++
		} else {
			j++
		}
	}
	return n
}

// Missing are the first n numbers, below the limit, that are not among them.
func (x Indexes) Missing(n, below int) []int {
	var out []int
	next := 0
	for _, s := range append(slices.Clone(x), span{below, below}) {
		for ; next < min(s.first, below) && len(out) < n; next++ {
			out = append(out, next)
		}
		next = max(next, s.last+1)
	}
	return out
}

// String is the form of a status: "0,2-5", with ranges from three numbers on.
func (x Indexes) String() string {
	var parts []string
	for _, s := range x {
		first, last := strconv.Itoa(s.first), strconv.Itoa(s.last)
		switch s.last - s.first {
		case 0:
			parts = append(parts, first)
		case 1:
			parts = append(parts, first, last)
		default:
			parts = append(parts, first+"-"+last)
		}
	}
	return strings.Join(parts, ",")
}
