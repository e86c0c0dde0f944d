package proxy

import (
	"net/netip"
	"time"
)

// Protocol as iptables calls it.
type Protocol string

// Protocols that services can have.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Config is what the rules of a node depend on besides services.
type Config struct {
	// NodePodCIDR is the range of this node's MiniPods, ClusterPodCIDR of all, ServiceCIDR of virtual IPs. IPv4.
	NodePodCIDR, ClusterPodCIDR, ServiceCIDR netip.Prefix
	// VXLANPort is the UDP port of frames between nodes.
	VXLANPort int
	// NoReversePath is for kernels without the match rpfilter: a MiniPod may then speak in the name of another of its node where
	// net.ipv4.conf.all.rp_filter is 2.
	NoReversePath bool
}

// Service is a service as the rules see it.
type Service struct {
	// Name is unique: namespace/name.
	Name string
	// VIP is the virtual IP. One that is not in the service range gets no rules, so that nobody can take over somebody
	// else's address by asking for it.
	VIP netip.Addr
	// Affinity is how long a client stays with its backend after its last connection; 0 for not at all.
	Affinity time.Duration
	Ports    []Port
}

// Port of a service.
type Port struct {
	Name     string
	Protocol Protocol
	Port     uint16
	// NodePort is 0 if there is none.
	NodePort uint16
	// Backends that take connections, in any order.
	Backends []netip.AddrPort
}

// HostPort is a port of the node, on all its addresses, that leads to one MiniPod on it.
type HostPort struct {
	Protocol Protocol
	Port     uint16
	To       netip.AddrPort
}
