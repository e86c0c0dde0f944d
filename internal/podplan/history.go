package podplan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// SpecHash covers what can change in a container's spec, the image. It must not cover more: a later version of the agent
// that knows more fields would replace every container.
func SpecHash(c *miniv1.Container) string {
	sum := sha256.Sum256([]byte(c.Image))
	return hex.EncodeToString(sum[:8])
}

// ContainerNamed finds a container of the spec, of whatever kind; nil if there is none of this name.
func ContainerNamed(pod *miniv1.MiniPod, name string) *miniv1.Container {
	for _, c := range pod.Spec.AllContainers() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// history lists the containers of one name, the one that counts first: those that may run before all others, then the newest
// attempt.
func (o *Observation) history(name string) []Container {
	var out []Container
	for _, c := range o.Containers {
		if c.Name == name {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Container) int { return cmp.Or(a.rank()-b.rank(), b.Attempt-a.Attempt) })
	return out
}

func (c Container) rank() int {
	if c.MayRun() {
		return 0
	}
	return 1
}
