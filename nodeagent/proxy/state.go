package proxy

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// state is what was last seen of the API's objects, and which services and MiniPods changed since the rules were made.
type state struct {
	mu        sync.Mutex
	services  map[types.NamespacedName]*miniv1.MiniService
	slices    map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by service, by the slice's name
	serviceOf map[types.NamespacedName]types.NamespacedName                  // by the slice's name
	hostPorts map[string][]HostPort                                          // by the MiniPod's UID

	dirtyServices map[types.NamespacedName]bool
	dirtyPods     map[string]bool
	peers         map[string]Peer // by range
	dirtyPeers    map[string]Peer
	wake          chan struct{}
}

func newState() *state {
	return &state{
		services:      map[types.NamespacedName]*miniv1.MiniService{},
		slices:        map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		serviceOf:     map[types.NamespacedName]types.NamespacedName{},
		hostPorts:     map[string][]HostPort{},
		dirtyServices: map[types.NamespacedName]bool{}, dirtyPods: map[string]bool{},
		peers: map[string]Peer{}, dirtyPeers: map[string]Peer{},
		wake: make(chan struct{}, 1),
	}
}

func (s *state) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *state) setService(name types.NamespacedName, service *miniv1.MiniService) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if service == nil {
		delete(s.services, name)
	} else {
		s.services[name] = service
	}
	s.dirtyServices[name] = true
	s.signal()
}

// setSlice takes a slice from the service that it was of, which may have been another, and gives it to the one it is of.
func (s *state) setSlice(slice *discoveryv1.EndpointSlice, exists bool) {
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
	service := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[miniv1.ServiceNameLabel]}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, known := s.serviceOf[name]; known {
		delete(s.slices[before], slice.Name)
		if len(s.slices[before]) == 0 {
			delete(s.slices, before)
		}
		delete(s.serviceOf, name)
		s.dirtyServices[before] = true
	}
	if exists && service.Name != "" {
		if s.slices[service] == nil {
			s.slices[service] = map[string]*discoveryv1.EndpointSlice{}
		}
		s.slices[service][slice.Name] = slice
		s.serviceOf[name] = service
		s.dirtyServices[service] = true
	}
	s.signal()
}

func (s *state) setHostPorts(podUID string, ports []HostPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ports) == 0 && len(s.hostPorts[podUID]) == 0 {
		return
	}
	s.hostPorts[podUID] = ports
	if len(ports) == 0 {
		delete(s.hostPorts, podUID)
	}
	s.dirtyPods[podUID] = true
	s.signal()
}

// setPeers notes the differences; a peer that is gone has no address.
func (s *state) setPeers(peers []Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[string]Peer, len(peers))
	for _, peer := range peers {
		name := peer.PodCIDR.String()
		now[name] = peer
		if s.peers[name] != peer {
			s.dirtyPeers[name] = peer
		}
	}
	for name := range s.peers {
		if _, stays := now[name]; !stays {
			s.dirtyPeers[name] = Peer{}
		}
	}
	s.peers = now
	if len(s.dirtyPeers) > 0 {
		s.signal()
	}
}

// take returns what changed, as plain values, and counts it as seen. What no longer exists has no ports.
func (s *state) take() (services []Service, hostPorts map[string][]HostPort, peers map[string]Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.dirtyServices {
		service := Service{Name: name.String()}
		if object := s.services[name]; object != nil {
			service = serviceOf(name.String(), object, s.slices[name])
		}
		services = append(services, service)
	}
	hostPorts = map[string][]HostPort{}
	for uid := range s.dirtyPods {
		hostPorts[uid] = s.hostPorts[uid]
	}
	clear(s.dirtyServices)
	clear(s.dirtyPods)
	peers, s.dirtyPeers = s.dirtyPeers, map[string]Peer{}
	return services, hostPorts, peers
}

// serviceOf makes the plain value from the objects.
func serviceOf(name string, object *miniv1.MiniService, of map[string]*discoveryv1.EndpointSlice) Service {
	out := Service{Name: name}
	out.VIP, _ = netip.ParseAddr(object.Status.ClusterIP) // not valid for None and before one was given
	if object.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = affinity(object.Spec.SessionAffinityConfig)
	}
	for _, p := range object.Spec.Ports {
		port := Port{Name: p.Name, Protocol: protocolOf(p.Protocol), Port: uint16(p.Port)}
		for _, given := range object.Status.Ports {
			if given.Port == p.Port && protocolOf(given.Protocol) == port.Protocol {
				port.NodePort = uint16(given.NodePort)
			}
		}
		port.Backends = backendsOf(port, of)
		out.Ports = append(out.Ports, port)
	}
	return out
}

// affinity is three hours unless it is configured, as in core/v1.
func affinity(config *miniv1.SessionAffinityConfig) time.Duration {
	if config != nil && config.ClientIP != nil && config.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*config.ClientIP.TimeoutSeconds) * time.Second
	}
	return time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
}

func protocolOf(p corev1.Protocol) Protocol {
	if p == corev1.ProtocolUDP {
		return UDP
	}
	return TCP
}

// backendsOf are the ready endpoints of a port; if there are none, those that still serve while they terminate.
func backendsOf(port Port, of map[string]*discoveryv1.EndpointSlice) []netip.AddrPort {
	var ready, serving []netip.AddrPort
	for _, name := range slices.Sorted(maps.Keys(of)) {
		number, ok := portOf(port, of[name])
		if !ok {
			continue
		}
		for _, endpoint := range of[name].Endpoints {
			isReady := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			isServing := endpoint.Conditions.Serving != nil && *endpoint.Conditions.Serving
			for _, address := range endpoint.Addresses {
				addr, err := netip.ParseAddr(address)
				if err != nil || !addr.Is4() {
					continue
				}
				if isReady {
					ready = append(ready, netip.AddrPortFrom(addr, number))
				} else if isServing {
					serving = append(serving, netip.AddrPortFrom(addr, number))
				}
			}
		}
	}
	if len(ready) == 0 {
		return serving
	}
	return ready
}

// portOf is the number that a slice gives to a service's port.
func portOf(port Port, slice *discoveryv1.EndpointSlice) (uint16, bool) {
	for _, p := range slice.Ports {
		sameName := p.Name == nil && port.Name == "" || p.Name != nil && *p.Name == port.Name
		sameProtocol := p.Protocol == nil && port.Protocol == TCP || p.Protocol != nil && protocolOf(*p.Protocol) == port.Protocol
		if sameName && sameProtocol && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// HostPortsOf are the host ports of a MiniPod that has an address and has not ended. One in the node's network has them without us.
func HostPortsOf(pod *miniv1.MiniPod) (out []HostPort) {
	if pod.Spec.HostNetwork {
		return nil
	}
	addr, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || pod.Status.Phase == miniv1.PodSucceeded || pod.Status.Phase == miniv1.PodFailed {
		return nil
	}
	for kind, container := range pod.Spec.AllContainers() {
		for _, p := range container.Ports {
			if p.HostPort == 0 || !kind.Lasts() {
				continue
			}
			out = append(out, HostPort{
				Protocol: protocolOf(p.Protocol), Port: uint16(p.HostPort), To: netip.AddrPortFrom(addr, uint16(p.ContainerPort)),
			})
		}
	}
	return out
}
