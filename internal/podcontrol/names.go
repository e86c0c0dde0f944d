package podcontrol

import (
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// randomEnd is how many random characters a name ends with.
	randomEnd = 5
	// maxBase leaves room for them in a name of 63, which is also a host name.
	maxBase = 63 - randomEnd
)

// Names gives MiniPods names that none of their owner's has.
type Names struct{ taken sets.Set[string] }

// NamesBeside gives names beside those of the given MiniPods.
func NamesBeside(pods []*miniv1.MiniPod) Names {
	taken := sets.New[string]()
	for _, pod := range pods {
		taken.Insert(pod.Name)
	}
	return Names{taken}
}

// Next is the base, cut where it is too long, a dash and a random end.
func (n Names) Next(base string) string {
	base += "-"
	return n.next(base[:min(len(base), maxBase)])
}

// NextOf is Next for a member of the base, as "-7", which is never cut.
func (n Names) NextOf(base, member string) string {
	member += "-"
	return n.next(base[:min(len(base), maxBase-len(member))] + member)
}

func (n Names) next(base string) string {
	name := base + rand.String(randomEnd)
	for n.taken.Has(name) {
		name = base + rand.String(randomEnd)
	}
	n.taken.Insert(name)
	return name
}
