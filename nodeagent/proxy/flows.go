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
	nodePorts map[uint16][]netip.AddrPort
	cluster   netip.Prefix
}

func newStaleUDP(cfg Config) *staleUDP {
	return &staleUDP{vips: map[netip.AddrPort][]netip.AddrPort{}, nodePorts: map[uint16][]netip.AddrPort{}, cluster: cfg.ClusterPodCIDR}
}

func (s *staleUDP) empty() bool { return len(s.vips)+len(s.nodePorts) == 0 }

// note that a service was one thing and is another.
func (s *staleUDP) note(before, now Service) {
	for _, service := range []Service{before, now} { // now overrules
		for _, p := range service.Ports {
			if p.Protocol != UDP {
				continue
			}
			backends := p.Backends
			if !slices.ContainsFunc(now.Ports, func(q Port) bool { return q.Protocol == UDP && q.Port == p.Port }) || service.VIP != now.VIP {
				backends = nil
			}
			s.vips[netip.AddrPortFrom(service.VIP, p.Port)] = backends
			if p.NodePort != 0 {
				s.nodePorts[p.NodePort] = backends
			}
		}
	}
}

// noteHostPorts notes the present host ports of a MiniPod; those that it had go with its address.
func (s *staleUDP) noteHostPorts(ports []HostPort) {
	for _, p := range ports {
		if p.Protocol == UDP {
			s.nodePorts[p.Port] = append(s.nodePorts[p.Port], p.To)
		}
	}
}

// match chooses a flow to a changed port that does not go to one of its backends. A node port is any address's port of
// that number, so only flows that went to a MiniPod, or that the node got itself, are of interest.
func (s *staleUDP) match(f conntrack.Flow) bool {
	if backends, ok := s.vips[f.Dst]; ok {
		return !slices.Contains(backends, f.ReplySrc)
	}
	backends, ok := s.nodePorts[f.Dst.Port()]
	if !ok {
		return false
	}
	if s.cluster.Contains(f.ReplySrc.Addr()) {
		return f.Dst != f.ReplySrc && !slices.Contains(backends, f.ReplySrc)
	}
	return f.Dst == f.ReplySrc && len(backends) > 0
}
