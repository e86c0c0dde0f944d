// Package endpoints decides which EndpointSlices a MiniService needs.
//
// The idea: a slice is a list of backends that share one set of target ports. Desired turns the service and its MiniPods
// into endpoints, grouped by those ports, since a named port may be another number in every MiniPod. Diff then spreads
// each group over slices of at most MaxPerSlice endpoints and compares with the slices that exist.
//
// What makes it hard is to change as little as possible: every proxy in the cluster reads every change. So an endpoint
// stays in the slice where it is, a new one goes where something changes anyway, then where there is room, and only then
// into a new slice. The name of a slice follows from the service's UID, the ports and a number, so that creating it twice,
// with a cache that does not show it yet, fails instead of listing backends twice.
package endpoints

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// Group is the endpoints that have the same target ports.
type Group struct {
	Ports     []discoveryv1.EndpointPort
	Endpoints []discoveryv1.Endpoint
}

// Desired lists the endpoints of a service, grouped by target ports and in a stable order. The pods are those that the
// selector matches. Absent are MiniPods without an address, finished ones, and those that lack every port of the service;
// a MiniPod that is not ready, or is being deleted, is listed with conditions that say so. The result shares no memory with
// what is passed in.
func Desired(service *miniv1.MiniService, pods []*miniv1.MiniPod) []Group {
	groups := map[string]*Group{}
	for _, pod := range pods {
		if _, err := netip.ParseAddr(pod.Status.PodIP); err != nil || podstate.IsFinished(pod) {
			continue
		}
		ports := targetPorts(service, pod)
		if len(ports) == 0 {
			continue
		}
		key := portsKey(ports)
		if groups[key] == nil {
			groups[key] = &Group{Ports: ports}
		}
		groups[key].Endpoints = append(groups[key].Endpoints, endpoint(pod))
	}
	out := make([]Group, 0, len(groups))
	for _, group := range groups {
		slices.SortFunc(group.Endpoints, func(a, b discoveryv1.Endpoint) int { return cmp.Compare(key(a), key(b)) })
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Compare(portsKey(a.Ports), portsKey(b.Ports)) })
	return out
}

func endpoint(pod *miniv1.MiniPod) discoveryv1.Endpoint {
	serving, terminating := podstate.IsReady(pod), podstate.IsDeleting(pod)
	ready := serving && !terminating
	out := discoveryv1.Endpoint{
		Addresses:  []string{pod.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "MiniPod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if node := pod.Status.NodeName; node != "" {
		out.NodeName = &node
	}
	return out
}

// targetPorts are the service's ports as numbers in this MiniPod, without those it does not have, ordered by name.
func targetPorts(service *miniv1.MiniService, pod *miniv1.MiniPod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if number, ok := targetPort(port, pod); ok {
			name, protocol := port.Name, protocolOf(port.Protocol)
			out = append(out, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
		}
	}
	slices.SortFunc(out, func(a, b discoveryv1.EndpointPort) int { return cmp.Compare(portKey(a), portKey(b)) })
	return out
}

func targetPort(port *miniv1.ServicePort, pod *miniv1.MiniPod) (int32, bool) {
	switch {
	case port.TargetPort == nil:
		return port.Port, true
	case port.TargetPort.Type == intstr.Int:
		return port.TargetPort.IntVal, true
	}
	for kind, container := range pod.Spec.AllContainers() {
		for _, named := range container.Ports {
			if kind.Lasts() && named.Name == port.TargetPort.StrVal && protocolOf(named.Protocol) == protocolOf(port.Protocol) {
				return named.ContainerPort, true
			}
		}
	}
	return 0, false
}

func protocolOf(protocol corev1.Protocol) corev1.Protocol {
	return cmp.Or(protocol, corev1.ProtocolTCP)
}

// key tells an endpoint from all others, over its whole life.
func key(e discoveryv1.Endpoint) string {
	address := strings.Join(e.Addresses, ",")
	if e.TargetRef == nil {
		return address
	}
	return address + "/" + string(e.TargetRef.UID)
}

func portsKey(ports []discoveryv1.EndpointPort) string {
	keys := make([]string, len(ports))
	for i, port := range ports {
		keys[i] = portKey(port)
	}
	slices.Sort(keys)
	return strings.Join(keys, ",")
}

func portKey(p discoveryv1.EndpointPort) string {
	var name string
	var protocol corev1.Protocol
	var number int32
	if p.Name != nil {
		name = *p.Name
	}
	if p.Protocol != nil {
		protocol = *p.Protocol
	}
	if p.Port != nil {
		number = *p.Port
	}
	return fmt.Sprintf("%s:%d/%s", name, number, protocol)
}

func hash(parts ...string) string {
	h := fnv.New32a()
	for _, part := range parts {
		_, _ = h.Write([]byte(part + "\n"))
	}
	return fmt.Sprintf("%08x", h.Sum32())
}
