// Package resources is the arithmetic of cpu and memory, as every part of miniplane does it.
//
// The idea: a resource.Quantity is a fine thing to write and a poor thing to count with. So quantities are turned into
// whole numbers once, where an object comes in (thousandths of a core, bytes), everything is computed with those, and
// they are turned back only to be shown to people.
//
// What makes it hard is only agreement: the scheduler, the quota ledger and the cgroups of the agent must all mean the
// same by "what this MiniPod asks for". The rule is a native Pod's: a request that is not given equals the limit, and
// a limit that is not given is no limit, written 0 here.
package resources

import (
	"iter"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Amounts is an amount of each resource. The zero value is nothing. Amounts are never negative when they come from
// objects; differences may be.
type Amounts struct {
	// MilliCPU is in thousandths of a core.
	MilliCPU int64
	// MemoryBytes is in bytes.
	MemoryBytes int64
}

// Add is the sum of both, at most the greatest int64.
func (a Amounts) Add(b Amounts) Amounts {
	return Amounts{addCapped(a.MilliCPU, b.MilliCPU), addCapped(a.MemoryBytes, b.MemoryBytes)}
}

// Sub is a less b.
func (a Amounts) Sub(b Amounts) Amounts {
	return Amounts{a.MilliCPU - b.MilliCPU, a.MemoryBytes - b.MemoryBytes}
}

// max is the larger amount of each resource.
func (a Amounts) max(b Amounts) Amounts {
	return Amounts{max(a.MilliCPU, b.MilliCPU), max(a.MemoryBytes, b.MemoryBytes)}
}

// Fits tells whether a is no more than room in every resource. What asks for nothing of a resource fits, even where
// that resource is over-used already.
func (a Amounts) Fits(room Amounts) bool {
	return (a.MilliCPU <= 0 || a.MilliCPU <= room.MilliCPU) && (a.MemoryBytes <= 0 || a.MemoryBytes <= room.MemoryBytes)
}

// String is the amounts as people read them.
func (a Amounts) String() string {
	return "cpu " + FormatCPU(a.MilliCPU) + ", memory " + FormatMemory(a.MemoryBytes)
}

// Requests is what the containers of a MiniPod ask for at one time, at most.
func Requests(spec *miniv1.MiniPodSpec) Amounts { return peak(spec.AllContainers(), ContainerRequests) }

// Limits is what the containers of a MiniPod may use at one time, at most. A container without a limit adds nothing: where that
// matters, ask ContainerLimits of each.
func Limits(spec *miniv1.MiniPodSpec) Amounts { return peak(spec.AllContainers(), ContainerLimits) }

// peak is the most that containers take at one time, of each resource for itself. They come in the order in which they start. One
// that lasts takes its amount from then on; an init container takes its own beside those that last and came before it, and gives it
// back before the next one starts. So it is a native Pod's: the larger of the sum of all that last, and of what the hungriest init
// container needs in its time.
func peak(containers iter.Seq2[miniv1.ContainerKind, *miniv1.Container], of func(*miniv1.Container) Amounts) Amounts {
	var lasting, most Amounts
	for kind, c := range containers {
		now := lasting.Add(of(c))
		if kind.Lasts() {
			lasting = now
		}
		most = most.max(now)
	}
	return most
}

// ContainerRequests is what one container asks for: its requests, and its limits where no request is given.
func ContainerRequests(c *miniv1.Container) Amounts {
	out := FromList(c.Resources.Requests)
	limits := FromList(c.Resources.Limits)
	if _, given := c.Resources.Requests[corev1.ResourceCPU]; !given {
		out.MilliCPU = limits.MilliCPU
	}
	if _, given := c.Resources.Requests[corev1.ResourceMemory]; !given {
		out.MemoryBytes = limits.MemoryBytes
	}
	return out
}

// ContainerLimits is what one container may use at most; 0 means that it has no limit.
func ContainerLimits(c *miniv1.Container) Amounts { return FromList(c.Resources.Limits) }

// Allocatable is the budget of a node's lane, and how many MiniPods it may hold. A number of MiniPods that is not
// reported is 0: nothing fits before the agent has said what there is.
func Allocatable(node *miniv1.MiniNode) (Amounts, int64) {
	pods := node.Status.Allocatable[corev1.ResourcePods]
	return FromList(node.Status.Allocatable), max(pods.Value(), 0)
}

// FromList reads cpu and memory from a list. What is missing or negative is 0; cpu is rounded up to thousandths.
func FromList(list corev1.ResourceList) Amounts {
	return Amounts{MilliCPU: Milli(list[corev1.ResourceCPU]), MemoryBytes: Whole(list[corev1.ResourceMemory])}
}

// Milli is a quantity in thousandths, rounded up, between 0 and the greatest int64.
func Milli(q resource.Quantity) int64 {
	if q.Value() > math.MaxInt64/1000 {
		return math.MaxInt64
	}
	return max(q.MilliValue(), 0)
}

// Whole is a quantity in whole units, rounded up, at least 0.
func Whole(q resource.Quantity) int64 { return max(q.Value(), 0) }

// QoS is the class of a MiniPod by a native Pod's rules: Guaranteed when every container has limits for cpu and memory
// that equal its requests, BestEffort when nothing is asked for or limited, Burstable otherwise.
func QoS(spec *miniv1.MiniPodSpec) corev1.PodQOSClass {
	guaranteed, nothing := true, true
	for _, c := range spec.AllContainers() {
		requests, limits := ContainerRequests(c), ContainerLimits(c)
		if requests != (Amounts{}) || limits != (Amounts{}) {
			nothing = false
		}
		if requests != limits || limits.MilliCPU == 0 || limits.MemoryBytes == 0 {
			guaranteed = false
		}
	}
	switch {
	case nothing:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

func addCapped(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
