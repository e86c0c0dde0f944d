// Package serviceip decides which virtual IP and which node ports each MiniService has.
//
// The idea: what was given stands in the services' status; the Allocator is a memory of it that is ahead of every cache.
// Restore fills it before the first Claim; from then on every Claim is answered from memory, at once and never twice the
// same, also while caches do not show the last answers yet.
//
// The algorithm of a Claim: wishes in the spec first; then what the service holds stays; then what its status says, if it
// is free; then anything free at random, above the part of the range that is left to wishes. What is no longer needed is
// given back last, so that ports can be swapped. A wish that somebody else holds is refused with the holder's name; the
// service keeps what it had, is remembered as waiting, and is named to the caller when anything becomes free.
//
// What makes it hard is that node ports belong to two worlds. Native Services take ports from the same range and know
// nothing of ours, so theirs always win: a port that a native Service got is taken away from the MiniService that held it.
package serviceip

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/ipam"
)

// PortKey tells the ports of one service apart.
type PortKey struct {
	Port     int32
	Protocol string
}

// Problem is a wish that could not be granted, with a reason of the API's and a message for people.
type Problem struct{ Reason, Message string }

// Grant is what a service has.
type Grant struct {
	// ClusterIP is the virtual IP, "None", or empty when none could be given.
	ClusterIP string
	// NodePorts are the node ports by service port; absent are those that could not be given.
	NodePorts map[PortKey]int32
	// Problems are why something is missing, or is not what the spec asks for.
	Problems []Problem
}

// Allocator remembers who has what. Safe for concurrent use, but not for claims of the same service at the same time.
type Allocator struct {
	addresses *ipam.Pool
	ports     *ipam.Ports
	random    func(n int) int

	mu     sync.Mutex
	held   map[types.NamespacedName]*holding
	native map[types.NamespacedName][]ipam.Port
}

type holding struct {
	uid     types.UID
	address netip.Addr
	ports   map[PortKey]ipam.Port
	waiting bool
}

// New makes an allocator of which nothing is given. Random(n) is a number from 0 to n-1.
func New(addresses *ipam.Pool, ports *ipam.Ports, random func(n int) int) *Allocator {
	return &Allocator{addresses: addresses, ports: ports, random: random,
		held: map[types.NamespacedName]*holding{}, native: map[types.NamespacedName][]ipam.Port{}}
}

// Restore notes what all services have, native ones first, then the oldest first. Where two have the same, the later one
// holds nothing, and gets another at its Claim.
func (a *Allocator) Restore(services []miniv1.MiniService, native []corev1.Service) {
	for i := range native {
		a.SetNative(nameOf(&native[i]), NativePorts(&native[i]))
	}
	services = slices.Clone(services)
	slices.SortFunc(services, func(x, y miniv1.MiniService) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range services {
		service := &services[i]
		name := nameOf(service)
		h := a.holding(name, service.UID)
		if address, err := netip.ParseAddr(service.Status.ClusterIP); err == nil && a.addresses.Reserve(address, owner(name)) == nil {
			h.address = address
		}
		for _, port := range service.Status.Ports {
			nodePort := ipam.Port{Protocol: protocol(port.Protocol), Number: port.NodePort}
			if a.ports.Reserve(nodePort, owner(name)) == nil {
				h.ports[PortKey{port.Port, nodePort.Protocol}] = nodePort
			}
		}
	}
}

// Claim gives a service what its spec asks for. Wake are services that waited for what became free.
func (a *Allocator) Claim(service *miniv1.MiniService) (grant Grant, wake []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := nameOf(service)
	freed := false
	if h, ok := a.held[name]; ok && h.uid != service.UID {
		freed = a.drop(name)
	}
	c := claim{Allocator: a, service: service, owner: owner(name), held: a.holding(name, service.UID)}
	c.clusterIP()
	c.nodePorts()
	c.held.waiting = len(c.grant.Problems) > 0
	if freed || c.freed {
		wake = a.waiting(name)
	}
	return c.grant, wake
}

// Release gives back all that a service has. Wake are services that waited for what became free.
func (a *Allocator) Release(name types.NamespacedName) (wake []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.drop(name) {
		return nil
	}
	return a.waiting(name)
}

// SetNative notes the node ports of a native Service; none when it is gone. Wake are MiniServices that lost a port to it, or
// waited for what became free.
func (a *Allocator) SetNative(name types.NamespacedName, ports []ipam.Port) (wake []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	freed := false
	for _, port := range a.native[name] {
		if holder, held := a.ports.Owner(port); held && holder == nativeOwner(name) && !slices.Contains(ports, port) {
			a.ports.Release(port)
			freed = true
		}
	}
	for _, port := range ports {
		if holder, held := a.ports.Owner(port); held && holder != nativeOwner(name) {
			wake = append(wake, a.rob(port)...)
		}
		_ = a.ports.Reserve(port, nativeOwner(name)) // outside our range: not ours to give
	}
	a.native[name] = ports
	if len(ports) == 0 {
		delete(a.native, name)
	}
	if freed {
		wake = append(wake, a.waiting(types.NamespacedName{})...)
	}
	return wake
}

// NativePorts are the node ports of a native Service.
func NativePorts(service *corev1.Service) []ipam.Port {
	var out []ipam.Port
	for _, port := range service.Spec.Ports {
		if port.NodePort != 0 {
			out = append(out, ipam.Port{Protocol: protocol(port.Protocol), Number: port.NodePort})
		}
	}
	if port := service.Spec.HealthCheckNodePort; port != 0 {
		out = append(out, ipam.Port{Protocol: string(corev1.ProtocolTCP), Number: port})
	}
	return out
}

// rob takes a port from the MiniService that holds it.
func (a *Allocator) rob(port ipam.Port) (wake []types.NamespacedName) {
	for name, h := range a.held {
		for key, held := range h.ports {
			if held == port {
				delete(h.ports, key)
				a.ports.Release(port)
				wake = append(wake, name)
			}
		}
	}
	return wake
}

func (a *Allocator) holding(name types.NamespacedName, uid types.UID) *holding {
	h, ok := a.held[name]
	if !ok {
		h = &holding{uid: uid, ports: map[PortKey]ipam.Port{}}
		a.held[name] = h
	}
	return h
}

// drop forgets a service. It reports whether anything became free.
func (a *Allocator) drop(name types.NamespacedName) bool {
	h, ok := a.held[name]
	if !ok {
		return false
	}
	if h.address.IsValid() {
		a.addresses.Release(h.address)
	}
	for _, port := range h.ports {
		a.ports.Release(port)
	}
	delete(a.held, name)
	return h.address.IsValid() || len(h.ports) > 0
}

func (a *Allocator) waiting(except types.NamespacedName) []types.NamespacedName {
	var out []types.NamespacedName
	for name, h := range a.held {
		if h.waiting && name != except {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(x, y types.NamespacedName) int { return strings.Compare(x.String(), y.String()) })
	return out
}

func nameOf(object interface {
	GetNamespace() string
	GetName() string
}) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

func owner(name types.NamespacedName) string       { return "MiniService " + name.String() }
func nativeOwner(name types.NamespacedName) string { return "Service " + name.String() }

func protocol(p corev1.Protocol) string { return string(cmp.Or(p, corev1.ProtocolTCP)) }
