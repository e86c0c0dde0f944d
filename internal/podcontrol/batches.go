package podcontrol

import "iter"

// Batches splits n requests into batches of 1, 2, 4, 8 and so on, the last taking the rest. Each batch is sent only when
// the one before it succeeded as a whole, so that a template that is refused costs one request and not n, while a
// thousand that are accepted take ten round trips.
func Batches(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for size := 1; n > 0; size *= 2 {
			batch := min(size, n)
			if !yield(batch) {
				return
			}
			n -= batch
		}
	}
}
