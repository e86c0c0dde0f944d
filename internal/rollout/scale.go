package rollout

import (
	"cmp"
	"slices"
	"strconv"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// resized tells whether the wanted number of replicas changed since a running set was last scaled.
func (p *planner) resized() bool {
	return slices.ContainsFunc(p.active(), func(d *draft) bool {
		desired, ok := d.after.Annotations[miniv1.DesiredReplicasAnnotation]
		return ok && desired != strconv.Itoa(p.replicas)
	})
}

// keepScale follows the wanted number of replicas without rolling: a single running set takes all of it, several share it
// in proportion to their sizes, so that what is broken does not gain weight. When none runs, the newest takes it.
func (p *planner) keepScale() {
	running := p.active()
	switch {
	case len(running) > 1:
		if p.resized() && !p.recreates() {
			p.share(running)
		}
	case len(running) == 1:
		running[0].scale(p.replicas, "%d wanted", p.replicas)
	case p.new != nil:
		p.new.scale(p.replicas, "%d wanted", p.replicas)
	case len(p.old) > 0:
		p.old[len(p.old)-1].scale(p.replicas, "%d wanted", p.replicas)
	}
	p.noteDesired()
}

// share distributes the wanted number and the surge over the running sets by the method of the largest remainder: each
// gets its exact share rounded down, and what is left goes, one each, to those that lost most by the rounding. Of equal
// ones the newer set gets it.
func (p *planner) share(running []*draft) {
	total := 0
	if p.replicas > 0 {
		total = p.replicas + p.surge
	}
	sizes := sum(running, (*draft).spec)
	left := total
	shares := make([]shared, len(running))
	for i, d := range running {
		shares[i] = shared{d, d.spec() * total / sizes, d.spec() * total % sizes}
		left -= shares[i].replicas
	}
	slices.SortStableFunc(shares, func(a, b shared) int {
		return cmp.Or(cmp.Compare(b.remainder, a.remainder), byRevision(b.after, a.after))
	})
	for i, s := range shares {
		if i < left {
			s.replicas++
		}
		s.scale(s.replicas, "%d wanted and %d surge, shared in proportion by %d sets", p.replicas, p.surge, len(running))
	}
}

// shared is the part of one set: whole replicas, and the remainder of the division.
type shared struct {
	*draft
	replicas, remainder int
}
