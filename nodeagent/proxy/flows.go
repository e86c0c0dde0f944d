package proxy

import (
	"context"
	"net/netip"
	"slices"

	"miniplane.dev/miniplane/nodeagent/conntrack"
)

// Flows is the flow table of the node, as in package conntrack.
type Flows interface {
	DeleteUDP(ctx context.Context, match conntrack.Match) error
}

// staleUDP finds the flows that the kernel would go on translating as it did before a change, or go on not translating.
type staleUDP struct {
	vips      map[netip.AddrPort][]netip.AddrPort // a virtual IP's present backends
	nodePorts map[uint16]nodePort
	cluster   netip.Prefix
}

// nodePort is a changed node port or host port.
type nodePort struct {
	backends []netip.AddrPort
	// opened: it had no backends before.
	opened bool
}

func newStaleUDP(cfg Config) *staleUDP {
	return &staleUDP{vips: map[netip.AddrPort][]netip.AddrPort{}, nodePorts: map[uint16]nodePort{}, cluster: cfg.ClusterPodCIDR}
}

func (s *staleUDP) empty() bool { return len(s.vips)+len(s.nodePorts) == 0 }

// note that a service was one thing and is another.
func (s *staleUDP) note(before, now Service) {
	for _, p := range before.udpPorts() {
		s.vips[netip.AddrPortFrom(before.VIP, p.Port)] = nil
		if p.NodePort != 0 {
			s.nodePorts[p.NodePort] = nodePort{}
		}
	}
	served := map[uint16]bool{}
	for _, p := range before.udpPorts() {
		served[p.NodePort] = len(p.Backends) > 0
	}
	for _, p := range now.udpPorts() {
		s.vips[netip.AddrPortFrom(now.VIP, p.Port)] = p.Backends
		if p.NodePort != 0 {
			s.nodePorts[p.NodePort] = nodePort{p.Backends, !served[p.NodePort]}
		}
	}
}

func (s Service) udpPorts() []Port {
	return slices.DeleteFunc(slices.Clone(s.Ports), func(p Port) bool { return p.Protocol != UDP })
}

// noteHostPorts notes the present host ports of a MiniPod; those that it had go with its address.
func (s *staleUDP) noteHostPorts(ports []HostPort) {
	for _, p := range ports {
		if p.Protocol == UDP {
			s.nodePorts[p.Port] = nodePort{[]netip.AddrPort{p.To}, true}
		}
	}
}

// match chooses a flow to a changed port that does not go to one of its backends. A node port is any address's port of
// that number, so only flows that went to a MiniPod are of interest, or, if the port was not open before, that went where
// they said.
func (s *staleUDP) match(f conntrack.Flow) bool {
	if backends, ok := s.vips[f.Dst]; ok {
		return !slices.Contains(backends, f.ReplySrc)
	}
	port, ok := s.nodePorts[f.Dst.Port()]
	switch {
	case !ok:
		return false
	case f.Dst == f.ReplySrc:
		return port.opened && len(port.backends) > 0
	}
	return s.cluster.Contains(f.ReplySrc.Addr()) && !slices.Contains(port.backends, f.ReplySrc)
}
