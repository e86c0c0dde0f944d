package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Encapsulation says when packets between MiniPods of different nodes go through VXLAN.
type Encapsulation string

// Encapsulations. Auto is where the peer is not on the same link. Always is for fabrics that drop addresses which they did not
// give, as the virtual networks of clouds do. Never is for networks whose routers know the ranges.
const (
	EncapsulateAuto   Encapsulation = "auto"
	EncapsulateAlways Encapsulation = "always"
	EncapsulateNever  Encapsulation = "never"
)

// Way is how a peer is reached, for those who must know what may come from it.
type Way struct {
	Name    string
	NodeIP  netip.Addr
	PodCIDR netip.Prefix
	// Near peers may send without VXLAN, Encapsulated ones are sent to by VXLAN.
	Near, Encapsulated bool
}

// way is how a peer's range is reached: by the gateway alone on the same link, or through VXLAN, where the gateway is the
// peer's own address and the VTEP the peer's node IP. Without either the node's other routes lead there.
type way struct {
	name    string
	node    netip.Addr
	dst     netip.Prefix
	gateway netip.Addr
	vtep    netip.Addr // not valid for a plain route
	near    bool
}

// planWays decides how each peer is reached. Peers without a usable range, and the node itself, are left out. A range must
// lie in the cluster's and have the size of this node's, for every node is given one of the same size: a smaller one would
// draw addresses of another node to itself. Of two peers with the same range the one that holds it stays, or else the first
// by name. What is refused is said.
func planWays(opts Options, peers []Peer, near func(netip.Addr) bool, holders map[netip.Prefix]string) (ways []way, refused []string) {
	first := func(p Peer) int {
		if holders[p.PodCIDR.Masked()] == p.Name {
			return 0
		}
		return 1
	}
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Or(first(a)-first(b), cmp.Compare(a.Name, b.Name)) })
	taken := map[netip.Prefix]string{opts.PodCIDR: "this node"}
	for _, peer := range peers {
		cidr := peer.PodCIDR.Masked()
		if !peer.NodeIP.Is4() || !cidr.IsValid() || peer.NodeIP == opts.NodeIP {
			continue
		}
		if why := unfit(opts, cidr, taken); why != "" {
			refused = append(refused, fmt.Sprintf("range %s of node %s: %s", cidr, peer.Name, why))
			continue
		}
		taken[cidr] = peer.Name
		ways = append(ways, wayTo(opts, peer, cidr, near(peer.NodeIP)))
	}
	return ways, refused
}

// unfit says why a range is refused. Ranges of one size overlap only where they are the same.
func unfit(opts Options, cidr netip.Prefix, taken map[netip.Prefix]string) string {
	switch {
	case !cidr.Addr().Is4() || !opts.ClusterPodCIDR.Contains(cidr.Addr()):
		return fmt.Sprintf("not in the cluster's range %s; do all agents and the manager have the same --pod-cidr?", opts.ClusterPodCIDR)
	case cidr.Bits() != opts.PodCIDR.Bits():
		return fmt.Sprintf("every node has a /%d; delete that MiniNode, so that the manager gives it another range", opts.PodCIDR.Bits())
	case taken[cidr] != "":
		return fmt.Sprintf("is that of %s; delete one of the two MiniNodes", taken[cidr])
	}
	return ""
}

func wayTo(opts Options, peer Peer, cidr netip.Prefix, near bool) way {
	w := way{name: peer.Name, node: peer.NodeIP, dst: cidr, near: near || opts.Encapsulation == EncapsulateNever}
	switch {
	case opts.Encapsulation == EncapsulateAlways || opts.Encapsulation != EncapsulateNever && !near:
		w.gateway, w.vtep = ownAddr(cidr), peer.NodeIP
	case near:
		w.gateway = peer.NodeIP
	}
	return w
}
