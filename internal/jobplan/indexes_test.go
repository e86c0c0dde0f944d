package jobplan_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/internal/jobplan"
)

func TestIndexesAsText(t *testing.T) {
	for _, c := range []struct {
		text  string
		below int
		want  string
		count int
	}{
		{"", 9, "", 0}, {"0", 9, "0", 1}, {"0,1", 9, "0,1", 2}, {"0-1", 9, "0,1", 2}, {"0,1,2", 9, "0-2", 3}, {"1,3-5,7", 9, "1,3-5,7", 5},
		{"5,1-3", 9, "1-3,5", 4}, {"3-9", 5, "3,4", 2}, {"7", 5, "", 0}, {"x,1,-3,4-2,2-", 9, "1", 1}, {"1-4,2-3", 9, "1-4", 4},
	} {
		x := jobplan.ParseIndexes(c.text, c.below)
		if x.String() != c.want || x.Count() != c.count {
			t.Errorf("%q below %d: %q, %d; want %q, %d", c.text, c.below, x, x.Count(), c.want, c.count)
		}
	}
}

// What ranges say is what sets of numbers say.
func FuzzIndexes(f *testing.F) {
	f.Add(uint64(1), uint8(10))
	f.Add(uint64(2), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		r := rand.New(rand.NewPCG(seed, 2))
		below := int(size) + 1
		pick := func() (numbers []int) {
			for n := range below {
				if r.IntN(2) == 0 {
					numbers = append(numbers, n)
				}
			}
			return numbers
		}
		a, b := pick(), pick()
		x, y := jobplan.IndexesOf(a...), jobplan.IndexesOf(b...)
		var union, common, missing []int
		for n := range below {
			inA, inB := slices.Contains(a, n), slices.Contains(b, n)
			if inA || inB {
				union = append(union, n)
			}
			if inA && inB {
				common = append(common, n)
			}
			if !inA {
				missing = append(missing, n)
			}
			if x.Has(n) != inA {
				t.Errorf("%s has %d: %t", x, n, x.Has(n))
			}
		}
		if got := x.With(y).String(); got != jobplan.IndexesOf(union...).String() {
			t.Errorf("%s with %s: %s", x, y, got)
		}
		if got := x.Common(y); got != len(common) {
			t.Errorf("%s and %s have %d in common, not %d", x, y, got, len(common))
		}
		most := r.IntN(below + 1)
		if diff := cmp.Diff(missing[:min(most, len(missing))], x.Missing(most, below)); diff != "" && most > 0 && len(missing) > 0 {
			t.Errorf("missing in %s (-want,+got):\n%s", x, diff)
		}
		if got := jobplan.ParseIndexes(x.String(), below); got.String() != x.String() || got.Count() != len(a) {
			t.Errorf("%s read again: %s", x, got)
		}
	})
}
