package framework

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/quota"
	"miniplane.dev/miniplane/internal/resources"
)

// What a MiniPod weighs at least when nodes are scored, so that MiniPods that ask for nothing do not pile up on one node.
const (
	minWeightMilliCPU    = 100
	minWeightMemoryBytes = 200 << 20
)

// Group stands for the MiniPods that should not share a node without need: those of one controller, or, without one,
// those of a namespace with the same labels. 0 is no group. It is a hash: should two groups ever collide, they only
// keep out of each other's way.
type Group uint64

// Pod is what the scheduler needs to know of a MiniPod, worked out once. It is never changed.
type Pod struct {
	types.NamespacedName
	UID types.UID
	// Created is when the MiniPod was made; the older is tried first.
	Created time.Time
	// Queued is when the scheduler first saw that it wants a node; the queue notes it.
	Queued time.Time
	// Shape is everything that a plugin looks at but the Group, written down: every node gives MiniPods of one shape and group
	// the same answer.
	Shape string
	// GroupShape is Shape and Group.
	GroupShape string
	// Class is equal for MiniPods of one namespace to which every node, every quota and every Pod Security level gives the same
	// answer. Labels are in it as far as the MiniPod asks for some itself: what other MiniPods ask for is package queue's. Each MiniPod of an Indexed
	// MiniJob has a label of its own, which hardly anybody ever asks for.
	Class string

	Charge       quota.Charge
	Weight       resources.Amounts
	NodeName     string
	NodeSelector []Label
	// NodeAffinity is nil where there is none.
	NodeAffinity *NodeAffinity
	Tolerations  []miniv1.Toleration
	HostPorts    []HostPort
	SpecLevel    int32 // what the agent has to know of the spec
	Group        Group

	// Around is nil where nothing is asked of other MiniPods.
	Around *Around
	// Labels and Ending are what others may ask of this one; Ending tells whether it is being deleted.
	Labels map[string]string
	Ending bool
}

// sumOf is a number for some of the labels.
func sumOf(labels map[string]string, keys []string) (sum uint64) {
	for _, key := range keys {
		value, has := labels[key]
		if !has {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(key))
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(value))
		sum += h.Sum64()
	}
	return sum
}

// Label is a label that a node must have.
type Label struct{ Key, Value string }

// NewPod works out a Pod.
func NewPod(pod *miniv1.MiniPod) *Pod {
	spec := &pod.Spec
	p := &Pod{
		NamespacedName: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		UID:            pod.UID,
		Created:        pod.CreationTimestamp.Time,
		Charge:         quota.ChargeOf(spec),
		NodeName:       spec.NodeName,
		NodeAffinity:   newNodeAffinity(spec.Affinity),
		Tolerations:    spec.Tolerations,
		SpecLevel:      spec.Level(),
		Around:         newAround(pod),
		Labels:         pod.Labels,
		Ending:         pod.DeletionTimestamp != nil,
	}
	if !p.Around.placesItself() {
		p.Group = groupOf(pod)
	}
	p.Weight = resources.Amounts{
		MilliCPU:    max(p.Charge.Requests.MilliCPU, minWeightMilliCPU),
		MemoryBytes: max(p.Charge.Requests.MemoryBytes, minWeightMemoryBytes),
	}
	for _, key := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		p.NodeSelector = append(p.NodeSelector, Label{key, spec.NodeSelector[key]})
	}
	for kind, c := range spec.AllContainers() {
		for i := range c.Ports {
			if number := spec.HostPort(&c.Ports[i]); number != 0 && kind.Lasts() {
				p.HostPorts = append(p.HostPorts, NewHostPort(number, c.Ports[i].Protocol))
			}
		}
	}
	slices.Sort(p.HostPorts)
	if p.Around != nil {
		p.Around.honour(p)
	}
	p.Shape = p.shape()
	p.GroupShape = p.Shape
	if p.Group != 0 {
		p.GroupShape = fmt.Sprintf("%s|%x", p.Shape, p.Group)
	}
	p.Class = fmt.Sprintf("%s|%v|%s|%s|%x%s", p.Namespace, p.Charge, p.GroupShape, podsecurity.Digest(pod), sumOf(p.Labels, p.Around.asked()), p.Around.Text())
	return p
}

// shape writes down what plugins look at. The parts are quoted, so that two different MiniPods never give the same text.
func (p *Pod) shape() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v|%q|%q|%v|%d|", p.Charge.Requests, p.NodeName, p.NodeSelector, p.HostPorts, p.SpecLevel)
	b.WriteString(p.NodeAffinity.Text())
	b.WriteString(p.tolerations())
	return b.String()
}

func (p *Pod) tolerations() string {
	if len(p.Tolerations) == 0 {
		return ""
	}
	var b strings.Builder
	for i := range p.Tolerations {
		t := &p.Tolerations[i]
		fmt.Fprintf(&b, "%q%q%q%q,", t.Key, t.Operator, t.Value, t.Effect)
	}
	return b.String()
}

// WithoutGroup is the Pod as if nothing of its group existed.
func (p *Pod) WithoutGroup() *Pod {
	alone := *p
	alone.Group, alone.GroupShape = 0, p.Shape
	return &alone
}

func groupOf(pod *miniv1.MiniPod) Group {
	var text string
	switch owner := metav1.GetControllerOf(pod); {
	case owner != nil:
		text = string(owner.UID)
	case len(pod.Labels) == 0:
		return 0
	default:
		text = fmt.Sprintf("%q%q", pod.Namespace, pod.Labels) // labels are printed in the order of their keys
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return Group(h.Sum64())
}
