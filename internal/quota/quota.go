// Package quota decides whether a MiniPod fits into the MiniQuotas of its namespace, and keeps the account.
//
// The idea: compute is charged at the binding, by one writer. A MiniPod that is only created costs nothing and waits; one
// that is bound is charged until nothing of it is left on its node. Since a single ledger both checks and charges, used
// can never pass hard by an admission, however many MiniPods race.
//
// The algorithm: Charge is what one MiniPod takes; Usage is the sum over the bound MiniPods of a namespace; Bounds are
// the compute keys of one MiniQuota. Check compares them, and a Ledger keeps the sums. The MiniQuota controller computes
// status.used with the same Charge, Usage and Used, from the same MiniPods.
//
// What makes it hard: several names for one thing (cpu is requests.cpu), several quotas that must all hold, MiniPods that
// say nothing about what is bounded, and quotas that appear or shrink while MiniPods run. A container that names no amount
// of a bounded resource cannot be counted, so its MiniPod waits, as a native Pod would be refused; a quota below what is
// used takes nothing away, and admits nothing until enough was released.
package quota

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/resources"
)

// dimension is one thing that is counted, whatever a quota calls it.
type dimension int

const (
	requestsCPU dimension = iota
	requestsMemory
	limitsCPU
	limitsMemory
	dimensions
)

// computeKeys are the names of compute bounds in spec.hard.
var computeKeys = map[corev1.ResourceName]dimension{
	corev1.ResourceCPU:            requestsCPU,
	corev1.ResourceRequestsCPU:    requestsCPU,
	corev1.ResourceMemory:         requestsMemory,
	corev1.ResourceRequestsMemory: requestsMemory,
	corev1.ResourceLimitsCPU:      limitsCPU,
	corev1.ResourceLimitsMemory:   limitsMemory,
}

// Charge is what one MiniPod takes of the quotas of its namespace.
type Charge struct {
	Usage
	// unnamed is, for each dimension, the first container that names no amount; empty when all do.
	unnamed [dimensions]string
}

// Usage is a sum of charges.
type Usage struct {
	// Requests that are set aside.
	Requests resources.Amounts
	// Limits that may be used.
	Limits resources.Amounts
}

// ChargeOf is what a MiniPod of this spec takes.
func ChargeOf(spec *miniv1.MiniPodSpec) Charge {
	charge := Charge{Usage: Usage{Requests: resources.Requests(spec), Limits: resources.Limits(spec)}}
	for _, c := range spec.AllContainers() {
		_, cpuLimit := c.Resources.Limits[corev1.ResourceCPU]
		_, memoryLimit := c.Resources.Limits[corev1.ResourceMemory]
		_, cpuRequest := c.Resources.Requests[corev1.ResourceCPU]
		_, memoryRequest := c.Resources.Requests[corev1.ResourceMemory]
		named := [dimensions]bool{cpuRequest || cpuLimit, memoryRequest || memoryLimit, cpuLimit, memoryLimit}
		for d, ok := range named {
			if !ok && charge.unnamed[d] == "" {
				charge.unnamed[d] = c.Name
			}
		}
	}
	return charge
}

// Add is the usage with one more charge.
func (u Usage) Add(c Usage) Usage { return Usage{u.Requests.Add(c.Requests), u.Limits.Add(c.Limits)} }

// Sub is the usage with one charge less.
func (u Usage) Sub(c Usage) Usage { return Usage{u.Requests.Sub(c.Requests), u.Limits.Sub(c.Limits)} }

func (u Usage) of(d dimension) int64 {
	return [dimensions]int64{u.Requests.MilliCPU, u.Requests.MemoryBytes, u.Limits.MilliCPU, u.Limits.MemoryBytes}[d]
}

// Bound is one compute key of a MiniQuota.
type Bound struct {
	// Key as the user wrote it.
	Key  corev1.ResourceName
	hard int64
	what dimension
}

// BoundsOf lists the compute keys of spec.hard by name. Keys of other kinds are left out; see IsCompute.
func BoundsOf(hard corev1.ResourceList) []Bound {
	var out []Bound
	for key, q := range hard {
		if what, ok := computeKeys[key]; ok {
			out = append(out, Bound{Key: key, hard: amountOf(what, q), what: what})
		}
	}
	slices.SortFunc(out, func(a, b Bound) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return out
}

// IsCompute tells whether a key of spec.hard is charged at the binding.
func IsCompute(key corev1.ResourceName) bool { _, ok := computeKeys[key]; return ok }

// Used is what status.used says for the compute keys.
func Used(bounds []Bound, usage Usage) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, b := range bounds {
		out[b.Key] = quantityOf(b.what, usage.of(b.what))
	}
	return out
}

// Exceeded says why a MiniPod does not fit into one MiniQuota: the numbers of each bound that does not hold.
type Exceeded struct {
	// Quota is the name of the MiniQuota.
	Quota string
	// Breaches has at least one element.
	Breaches []Breach
}

// Breach is one bound that would not hold.
type Breach struct {
	Key              corev1.ResourceName
	Asks, Used, Hard resource.Quantity
	// Container, when not empty, names no amount of the bounded resource; the numbers are not set then.
	Container string
}

// Check tells whether a charge fits under the bounds of the MiniQuota called name, on top of what is used. It returns nil when it does.
// What a MiniPod does not ask for is not held against it, even where more is used than is allowed.
func Check(name string, bounds []Bound, used Usage, charge *Charge) *Exceeded {
	var out *Exceeded
	for _, b := range bounds {
		asks, already := charge.of(b.what), used.of(b.what)
		unnamed := charge.unnamed[b.what]
		if unnamed == "" && (asks == 0 || asks <= b.hard-already) {
			continue
		}
		if out == nil {
			out = &Exceeded{Quota: name}
		}
		out.Breaches = append(out.Breaches, Breach{Key: b.Key, Container: unnamed,
			Asks: quantityOf(b.what, asks), Used: quantityOf(b.what, already), Hard: quantityOf(b.what, b.hard)})
	}
	return out
}

// Message is for people: `quota "team" exceeded: cpu asks 200m, used 1 of 1`.
func (e *Exceeded) Message() string {
	parts := make([]string, 0, len(e.Breaches))
	verb := "needs amounts"
	for _, b := range e.Breaches {
		if b.Container != "" {
			parts = append(parts, fmt.Sprintf("container %q must say its %s", b.Container, sayKey(b.Key)))
			continue
		}
		verb = "exceeded"
		parts = append(parts, fmt.Sprintf("%s asks %s, used %s of %s", b.Key, b.Asks.String(), b.Used.String(), b.Hard.String()))
	}
	return fmt.Sprintf("quota %q %s: %s", e.Quota, verb, strings.Join(parts, "; "))
}

// sayKey is where in the manifest the amount belongs.
func sayKey(key corev1.ResourceName) string {
	return [dimensions]string{"resources.requests.cpu", "resources.requests.memory", "resources.limits.cpu", "resources.limits.memory"}[computeKeys[key]]
}

func amountOf(d dimension, q resource.Quantity) int64 {
	if d == requestsCPU || d == limitsCPU {
		return resources.Milli(q)
	}
	return resources.Whole(q)
}

func quantityOf(d dimension, amount int64) resource.Quantity {
	if d == requestsCPU || d == limitsCPU {
		return resources.CPUQuantity(amount)
	}
	return resources.MemoryQuantity(amount)
}
