package nodelife

import (
	"errors"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/ipam"
)

// PodCIDR finds the range of addresses for a node's MiniPods and reserves it: the one that it has, the one that its spec asks
// for, or the next free one. Where there is none, problem is the Ready condition that says why.
func PodCIDR(node *miniv1.MiniNode, subnets *ipam.Subnets) (cidr string, problem *metav1.Condition) {
	if node.Status.PodCIDR != "" {
		return reserve(node.Status.PodCIDR, node.Name, subnets)
	}
	if node.Spec.PodCIDR != "" {
		return reserve(node.Spec.PodCIDR, node.Name, subnets)
	}
	subnet, err := subnets.Allocate(node.Name)
	if err != nil {
		return "", notReady(miniv1.ReasonPodCIDRExhausted, fmt.Sprintf(
			"every range of the cluster's pod range %s is given to a node; delete nodes that are gone, or run the manager with a larger --pod-cidr", subnets.Prefix()))
	}
	return subnet.String(), nil
}

// RangeOwner is the other node that holds addresses of the range that this one's status claims; "" when nobody does.
func RangeOwner(node *miniv1.MiniNode, subnets *ipam.Subnets) string {
	subnet, err := netip.ParsePrefix(node.Status.PodCIDR)
	var conflict *ipam.ConflictError
	if err == nil && errors.As(subnets.Reserve(subnet.Masked(), node.Name), &conflict) {
		return conflict.Owner
	}
	return ""
}

// Recall reserves for the node the range that has the address of one of its MiniPods, and tells whether it could. That of a MiniPod in the
// node's network is of no range.
func Recall(pod *miniv1.MiniPod, node string, subnets *ipam.Subnets) bool {
	if pod.Spec.HostNetwork {
		return false
	}
	addr, err := netip.ParseAddr(pod.Status.PodIP)
	return err == nil && subnets.Reserve(subnets.Around(addr), node) == nil
}

func reserve(text, name string, subnets *ipam.Subnets) (string, *metav1.Condition) {
	subnet, err := netip.ParsePrefix(text)
	if err != nil {
		return "", notReady(miniv1.ReasonPodCIDRRefused, fmt.Sprintf("%q is not a range of addresses", text))
	}
	subnet = subnet.Masked()
	err = subnets.Reserve(subnet, name)
	var conflict *ipam.ConflictError
	switch {
	case err == nil:
		return subnet.String(), nil
	case errors.As(err, &conflict):
		return "", notReady(miniv1.ReasonPodCIDRRefused, fmt.Sprintf("the range %s overlaps the one of node %s", subnet, conflict.Owner))
	default:
		return "", notReady(miniv1.ReasonPodCIDRRefused, fmt.Sprintf("the range %s is not inside the cluster's pod range %s", subnet, subnets.Prefix()))
	}
}

func notReady(reason, message string) *metav1.Condition {
	return &metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}
