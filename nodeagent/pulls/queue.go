package pulls

// wish is a pull that waits, in the order of their coming.
type wish struct{ namespace string }

// flight is a pull under way. A silent one waits for its registry and costs nothing.
type flight struct {
	namespace string
	silent    bool
}

// silentFactor bounds how many pulls there are at all: so many times those that may be moving.
const silentFactor = 8

// next decides which wish is fulfilled now; -1 if none may be. Only what moves takes one of the places, so that registries that do not
// answer keep nobody waiting. The namespace with the fewest pulls is first, then who came first; no namespace has more
// than its places, moving or not.
func next(waiting []wish, flying []flight, places int) int {
	moving, of := 0, map[string]int{}
	for _, f := range flying {
		of[f.namespace]++
		if !f.silent {
			moving++
		}
	}
	if moving >= places || len(flying) >= silentFactor*places {
		return -1
	}
	best := -1
	for i, w := range waiting {
		if of[w.namespace] < places && (best < 0 || of[w.namespace] < of[waiting[best].namespace]) {
			best = i
		}
	}
	return best
}
