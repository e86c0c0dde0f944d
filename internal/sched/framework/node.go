package framework

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/resources"
)

// NewNodeSpec puts together what the MiniNode and the core Node of one name say. Without a MiniNode there is no node: nil.
func NewNodeSpec(mini *miniv1.MiniNode, core *corev1.Node) *NodeSpec {
	if mini == nil {
		return nil
	}
	s := &NodeSpec{
		HasRange: mini.Status.PodCIDR != "",
		Ready:    meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionReady) && mini.DeletionTimestamp == nil,
	}
	s.Leaving = meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionLeaving)
	s.PIDPressure = meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionPIDPressure)
	s.SpecLevel = mini.Status.NodeInfo.Level()
	s.Allocatable, s.MaxPods = resources.Allocatable(mini)
	if core == nil {
		return s
	}
	s.Registered, s.Labels, s.Cordoned = true, core.Labels, core.Spec.Unschedulable
	for _, taint := range core.Spec.Taints {
		s.Taints = append(s.Taints, Taint{Taint: taint, Text: taint.ToString()})
	}
	return s
}

// Equal tells whether two specs say the same.
func (s *NodeSpec) Equal(other *NodeSpec) bool {
	return apiequality.Semantic.DeepEqual(s, other)
}

// Exists tells whether this is a node that the scheduler may think of.
func (n *NodeInfo) Exists() bool { return n.Spec != nil }

// Free is what is left of the budget; negative where more is charged than there is.
func (n *NodeInfo) Free() resources.Amounts { return n.Spec.Allocatable.Sub(n.Used) }

// GroupCount is how many MiniPods of the group are on the node.
func (n *NodeInfo) GroupCount(group Group) int32 {
	if i, ok := n.findGroup(group); ok {
		return n.Groups[i].Count
	}
	return 0
}

// Charge puts a MiniPod on the node's account.
func (n *NodeInfo) Charge(pod *Pod) {
	n.Used, n.Weight, n.Pods = n.Used.Add(pod.Charge.Requests), n.Weight.Add(pod.Weight), n.Pods+1
	n.HostPorts = append(n.HostPorts, pod.HostPorts...)
	if pod.Group == 0 {
		return
	}
	i, ok := n.findGroup(pod.Group)
	if !ok {
		n.Groups = slices.Insert(n.Groups, i, GroupCount{Group: pod.Group})
	}
	n.Groups[i].Count++
}

// Release takes a MiniPod off the node's account.
func (n *NodeInfo) Release(pod *Pod) {
	n.Used, n.Weight, n.Pods = n.Used.Sub(pod.Charge.Requests), n.Weight.Sub(pod.Weight), n.Pods-1
	for _, port := range pod.HostPorts {
		if i := slices.Index(n.HostPorts, port); i >= 0 {
			n.HostPorts = slices.Delete(n.HostPorts, i, i+1)
		}
	}
	i, ok := n.findGroup(pod.Group)
	if !ok {
		return
	}
	if n.Groups[i].Count--; n.Groups[i].Count == 0 {
		n.Groups = slices.Delete(n.Groups, i, i+1)
	}
}

// CopyInto copies the node, with as little allocation as can be.
func (n *NodeInfo) CopyInto(out *NodeInfo) {
	ports, groups := append(out.HostPorts[:0], n.HostPorts...), append(out.Groups[:0], n.Groups...)
	*out = *n
	out.HostPorts, out.Groups = ports, groups
}

func (n *NodeInfo) findGroup(group Group) (int, bool) {
	return slices.BinarySearchFunc(n.Groups, group, func(c GroupCount, g Group) int { return cmp.Compare(c.Group, g) })
}
