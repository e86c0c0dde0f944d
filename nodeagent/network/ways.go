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
	// Address is the node's own one in its range.
	Address netip.Addr
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

// smallestRange is the length of the prefix of the smallest range that a node can have; see Options.PodCIDR.
const smallestRange = 30

// planWays decides how each peer is reached. Peers without a usable range, and the node itself, are left out. A range must lie
// in the cluster's and overlap no other: one that does would draw addresses of another node to itself. Its size does not
// matter, for nodes keep the range that they have when the manager gives others of another size. Of two peers with the same
// addresses the one that holds its range stays, else the one that was there first, as the manager decides it. What is refused
// is said.
func planWays(opts Options, peers []Peer, near func(netip.Addr) bool, holders map[netip.Prefix]string) (ways []way, refused []string) {
	first := func(p Peer) int {
		if holders[p.PodCIDR.Masked()] == p.Name {
			return 0
		}
		return 1
	}
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b Peer) int {
		return cmp.Or(first(a)-first(b), a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	given := taken{{opts.PodCIDR, "this node"}}
	for _, peer := range peers {
		cidr := peer.PodCIDR.Masked()
		if !peer.NodeIP.Is4() || !cidr.IsValid() || peer.NodeIP == opts.NodeIP {
			continue
		}
		if why := given.unfit(opts, cidr); why != "" {
			refused = append(refused, fmt.Sprintf("range %s of node %s: %s", cidr, peer.Name, why))
			continue
		}
		given.add(cidr, peer.Name)
		ways = append(ways, wayTo(opts, peer, cidr, near(peer.NodeIP)))
	}
	return ways, refused
}

// taken are ranges of which no two overlap, by their addresses.
type taken []owned

type owned struct {
	cidr netip.Prefix
	by   string
}

// place is where a range belongs in the list.
func (t taken) place(cidr netip.Prefix) int {
	i, _ := slices.BinarySearchFunc(t, cidr, func(x owned, cidr netip.Prefix) int { return x.cidr.Addr().Compare(cidr.Addr()) })
	return i
}

func (t *taken) add(cidr netip.Prefix, by string) {
	*t = slices.Insert(*t, t.place(cidr), owned{cidr, by})
}

// unfit says why a range is refused. Since those in the list do not overlap, only its neighbours there can overlap it.
func (t taken) unfit(opts Options, cidr netip.Prefix) string {
	switch {
	case !cidr.Addr().Is4() || !opts.ClusterPodCIDR.Contains(cidr.Addr()) || cidr.Bits() < opts.ClusterPodCIDR.Bits():
		return fmt.Sprintf("not in the cluster's range %s; do all agents and the manager have the same --pod-cidr?", opts.ClusterPodCIDR)
	case cidr.Bits() > smallestRange:
		return fmt.Sprintf("a node has a /%d at least; delete that MiniNode, so that the manager gives it another range", smallestRange)
	}
	at := t.place(cidr)
	for _, x := range t[max(at-1, 0):min(at+1, len(t))] {
		if x.cidr.Overlaps(cidr) {
			return fmt.Sprintf("overlaps %s, which is that of %s; delete one of the two MiniNodes", x.cidr, x.by)
		}
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
