package pulls

// wish is a pull that waits, in the order of their coming.
type wish struct {
	// namespaces are those of all who want it.
	namespaces []string
	// overdue: it has waited so long that it need not wait for namespaces that have more.
	overdue bool
}

// flight is a pull under way. A silent one waits for its registry and costs nothing.
type flight struct {
	namespace string // the one that it counts for
	silent    bool
}

// silentFactor bounds how many pulls there are at all: so many times those that may be moving.
const silentFactor = 8

// next decides which wish is fulfilled now, and for which namespace it counts; -1 if none may be. Only what moves takes one of the
// places, so that registries that do not answer keep nobody waiting. The namespace with the fewest pulls is first, then who came first; no
// namespace has more than its places, moving or not.
//
// A registry decides how long a pull moves, a byte a second for ever if it likes. So all places may be taken for good, and a namespace
// that has none, and whose wish is overdue, gets one beside them. What several want counts for the one of them that has the fewest, so
// that nobody waits behind the wishes of another for what he wants too.
func next(waiting []wish, flying []flight, places int) (best int, namespace string) {
	moving, of := 0, map[string]int{}
	for _, f := range flying {
		of[f.namespace]++
		if !f.silent {
			moving++
		}
	}
	full := moving >= places || len(flying) >= silentFactor*places
	best = -1
	for i, w := range waiting {
		for _, n := range w.namespaces {
			may := of[n] < places && !full || of[n] == 0 && w.overdue
			if may && (best < 0 || of[n] < of[namespace]) {
				best, namespace = i, n
			}
		}
	}
	return best, namespace
}
