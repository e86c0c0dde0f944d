package proxy

import (
	"fmt"
	"net/netip"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// Who may speak in whose name is decided in the table raw, before anything is translated, tracked or accepted by others:
//
//   - a MiniPod with its own address only (the kernel's question whether it would be reached by the same link), and
//     never with frames of VXLAN, to this node or to another;
//   - a peer's MiniPods with addresses of the peer's range only, and not past VXLAN where the peer is on another link;
//   - frames of VXLAN from peers' node addresses only.
//
// Who may pass the node is decided in FORWARD twice. The first rule of it refuses, and lets through what goes from MiniPod
// to MiniPod, which concerns nobody else. The last one lets through what others had no word against: a rule that accepts
// ends the table, so that in front it would pass MiniPods by the NetworkPolicies of native Pods.
const (
	chainTrust   = "MINI-TRUST"
	chainPod     = "MINI-POD"
	chainTransit = "MINI-TRANSIT"
	chainSources = "MINI-SOURCES"
	chainVTEPs   = "MINI-VTEPS"
	chainAccept  = "MINI-ACCEPT"
	chainToPods  = "MINI-TO-PODS"
	chainPeers   = "MINI-PEERS"
)

const (
	// podLinks are the host ends of MiniPods' links; vxlanLink, which is not one, is looked at before.
	podLinks, vxlanLink = "mini+", "mini.vxlan"
	// misrouted is true for a packet whose source is not reached by the link that it came from. The kernel's own rp_filter does the
	// same, but only where net.ipv4.conf.all.rp_filter is not 2.
	misrouted = "-m rpfilter --invert"

	// ReversePath is a rule that not every kernel understands.
	ReversePath = "-i " + podLinks + " " + misrouted + " -j DROP"
)

// Peer is another node, as the rules see it.
type Peer struct {
	NodeIP  netip.Addr
	PodCIDR netip.Prefix
	// Near peers may send without VXLAN.
	Near bool
}

// trustChains are the same for all peers.
func trustChains(cfg Config) map[chainID][]string {
	node, cluster, services := cfg.NodePodCIDR.Masked(), cfg.ClusterPodCIDR.Masked(), cfg.ServiceCIDR.Masked()
	vxlan := fmt.Sprintf("-p udp -m udp --dport %d", cfg.VXLANPort)
	fromPod := []string{fmt.Sprintf("! -s %s -j DROP", node)}
	if !cfg.NoReversePath {
		fromPod = append(fromPod, misrouted+" -j DROP")
	}
	return map[chainID][]string{
		{iptables.Raw, chainTrust}: {
			fmt.Sprintf("-i %s -g %s", vxlanLink, chainSources),
			fmt.Sprintf("-i %s -g %s", podLinks, chainPod),
			fmt.Sprintf("%s -m addrtype --dst-type LOCAL -g %s", vxlan, chainVTEPs),
			fmt.Sprintf("-s %s -g %s", cluster, chainSources),
			// Native Pods leave their node masqueraded: only here it is seen that a frame is not the node's own.
			fmt.Sprintf("%s -g %s", vxlan, chainTransit),
		},
		{iptables.Raw, chainPod}: append(fromPod,
			fmt.Sprintf("-d %s -j RETURN", cluster),
			fmt.Sprintf("-d %s -j RETURN", services),
			vxlan+" -j DROP"),
		{iptables.Raw, chainTransit}: {
			fmt.Sprintf("-d %s -j RETURN", cluster),
			fmt.Sprintf("-d %s -j RETURN", services),
			"-g " + chainVTEPs,
		},
		{iptables.Filter, chainForward}: {
			fmt.Sprintf("-d %s %s -g %s", services, newOnly, chainReject),
			// What the connection tracker does not know would leave untranslated, and end the connection it belongs to.
			fmt.Sprintf("-s %s -m conntrack --ctstate INVALID -j DROP", node),
			fmt.Sprintf("-s %s -d %s -j ACCEPT", cluster, cluster),
		},
		{iptables.Filter, chainAccept}: {
			fmt.Sprintf("-i %s -s %s -j ACCEPT", podLinks, node),
			// What was translated to a MiniPod of another node, or to a service's backend outside, and the answers.
			fmt.Sprintf("-d %s %s -j ACCEPT", cluster, translated),
			fmt.Sprintf("-s %s %s -j ACCEPT", cluster, translated),
			fmt.Sprintf("%s --ctorigdst %s -j ACCEPT", translated, services),
			fmt.Sprintf("-o %s -d %s -g %s", podLinks, node, chainToPods),
		},
		{iptables.Filter, chainToPods}: {
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"-g " + chainPeers,
		},
	}
}

// peerTrees are trees over peers. A packet that finds itself in none of the first two is dropped. A range stands in its tree by its
// first address; where two do below one chain, that chain's match holds the whole of both, whatever size they have, since they do
// not overlap.
func (r *ruleset) peerTrees() {
	r.sources = r.claims(treeKind{table: iptables.Raw, name: chainSources, prefix: "MINI-S-", match: matchSrc, otherwise: "-j DROP"})
	r.vteps = r.claims(treeKind{table: iptables.Raw, name: chainVTEPs, prefix: "MINI-N-", match: matchSrc, otherwise: "-j DROP"})
	r.peers = r.claims(treeKind{table: iptables.Filter, name: chainPeers, prefix: "MINI-P-", match: matchSrc})
}

// peer renders one peer.
func (r *ruleset) peer(p Peer) contribution {
	c := newContribution()
	if !p.NodeIP.Is4() || !within(p.PodCIDR, r.cfg.ClusterPodCIDR) || p.PodCIDR.Overlaps(r.cfg.NodePodCIDR) {
		return c
	}
	from := "-i " + vxlanLink + " "
	if p.Near {
		from = ""
	}
	address := addrKey(p.NodeIP)
	c.sources[addrKey(p.PodCIDR.Masked().Addr())] = []string{fmt.Sprintf("%s-s %s -j RETURN", from, p.PodCIDR.Masked())}
	c.vteps[address] = []string{fmt.Sprintf("-s %s/32 -j RETURN", p.NodeIP)}
	c.peers[address] = []string{fmt.Sprintf("-s %s/32 -j ACCEPT", p.NodeIP)}
	return c
}

// within tells whether a range is a part of another.
func within(part, whole netip.Prefix) bool {
	return part.IsValid() && part.Bits() >= whole.Bits() && whole.Contains(part.Addr())
}

func matchSrc(key uint32, bits int) string {
	addr := netip.AddrFrom4([4]byte{byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)})
	return fmt.Sprintf("-s %s/%d", addr, bits)
}
