// Package framework has the words that the parts of the scheduler speak with: a Pod that looks for a node, a NodeInfo
// that may take it, Filters that say whether it can, Scores that say how well, and Reasons why not, as data.
//
// The idea that makes scheduling fast lives in three rules that every plugin keeps:
//
//  1. A plugin looks at one Pod and one NodeInfo, and at nothing else: not at other nodes, not at a clock. So a verdict
//     stays true until that node changes, and can be kept (see package sched, ranking).
//  2. Of the Pod it looks only at what Pod.GroupShape is made of. So a verdict for one MiniPod of a replica set is the verdict
//     for all of them.
//  3. No Filter looks at Pod.Group, and a Score that does is never higher for it: with a group the score is at most what it
//     is without. So what is known for the shape without the group is a bound for all groups.
//
// What a MiniPod asks of other MiniPods breaks them all, and is no plugin: package constraints counts for it.
//
// Scores are therefore absolute, between 0 and MaxScore, and never normalised over the nodes.
package framework

import (
	corev1 "k8s.io/api/core/v1"

	"miniplane.dev/miniplane/internal/resources"
)

// MaxScore is the best score that a plugin gives. It is large so that small differences count without fractions.
const MaxScore int64 = 1_000_000

// Filter says whether a node can take a Pod.
type Filter interface {
	// Name of the plugin, as in the configuration and in explanations.
	Name() string
	// Filter returns the zero Reason when the node can take the Pod, and else why not. It must not allocate when it can.
	Filter(pod *Pod, node *NodeInfo) Reason
}

// Skipper is what a Filter or a Score may have besides: Skip tells that it passes every node for this Pod, or gives every node 0, so that it need
// not be asked.
type Skipper interface {
	Skip(pod *Pod) bool
}

// Score says how well a node suits a Pod that it can take.
type Score interface {
	// Name of the plugin, as in the configuration and in explanations.
	Name() string
	// Score returns 0 (worst) to MaxScore (best).
	Score(pod *Pod, node *NodeInfo) int64
}

// NodeInfo is a node and what is charged on it. It is a value that is copied between cache and snapshot: Spec is shared
// and never changed in place, the slices are not shared.
type NodeInfo struct {
	Name string
	// Spec is what the API says of the node; nil when it has no MiniNode, so that it is no node to the scheduler.
	Spec *NodeSpec
	// Used is what the charged MiniPods ask for together.
	Used resources.Amounts
	// Weight is Used with a minimum for MiniPods that ask for little or nothing; only scores look at it.
	Weight resources.Amounts
	// Pods is how many MiniPods are charged.
	Pods int64
	// HostPorts are those in use.
	HostPorts []HostPort
	// Groups counts the MiniPods by group, sorted by group.
	Groups []GroupCount
}

// NodeSpec is what the API says of a node: of its MiniNode, and of the core Node of the same name.
type NodeSpec struct {
	// Allocatable is the budget of the lane.
	Allocatable resources.Amounts
	// MaxPods is how many MiniPods the node may hold.
	MaxPods int64
	// Registered tells whether there is a core Node. Labels, Taints and Cordoned come from it.
	Registered bool
	Labels     map[string]string
	Taints     []Taint
	Cordoned   bool
	// Ready tells whether the agent is alive.
	Ready bool
	// SpecLevel is how much of a MiniPod's spec the agent knows.
	SpecLevel int32
	// PIDPressure tells whether the node's MiniPods have nearly as many processes as they can have.
	PIDPressure bool
	// Leaving: miniplane leaves the node, and nothing may go there any more.
	Leaving bool
	// HasRange tells whether the node was given addresses for its MiniPods.
	HasRange bool
}

// Taint is a taint of the core Node, and how it is written.
type Taint struct {
	corev1.Taint
	// Text is "key=value:Effect".
	Text string
}

// HostPort is a port of a node: the number, and the protocol above it.
type HostPort uint32

const udp HostPort = 1 << 16

// NewHostPort makes a HostPort.
func NewHostPort(port int32, protocol corev1.Protocol) HostPort {
	if protocol == corev1.ProtocolUDP {
		return HostPort(port) | udp
	}
	return HostPort(port)
}

// Number is the port, and Protocol its protocol.
func (p HostPort) Number() int32 { return int32(p &^ udp) }

// Protocol is TCP or UDP.
func (p HostPort) Protocol() corev1.Protocol {
	if p&udp != 0 {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

// GroupCount is how many MiniPods of a group a node has.
type GroupCount struct {
	Group Group
	Count int32
}
