package network

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// way is how a peer's range is reached: by the gateway alone on the same link, or through VXLAN, where the gateway is the
// peer's own address and the VTEP the peer's node IP.
type way struct {
	dst     netip.Prefix
	gateway netip.Addr
	vtep    netip.Addr // not valid for a plain route
}

// planWays decides how each peer is reached. Peers without a usable range, and the node itself, are left out; of two with
// the same range the first by name wins.
func planWays(opts Options, peers []Peer, onLink func(netip.Addr) bool) []way {
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	var out []way
	seen := map[netip.Prefix]bool{}
	for _, peer := range peers {
		cidr := peer.PodCIDR.Masked()
		usable := peer.NodeIP.Is4() && cidr.IsValid() && cidr.Addr().Is4() && opts.ClusterPodCIDR.Overlaps(cidr)
		if !usable || peer.NodeIP == opts.NodeIP || cidr.Overlaps(opts.PodCIDR) || seen[cidr] {
			continue
		}
		seen[cidr] = true
		w := way{dst: cidr, gateway: peer.NodeIP}
		if opts.AlwaysEncapsulate || !onLink(peer.NodeIP) {
			w.gateway, w.vtep = ownAddr(cidr), peer.NodeIP
		}
		out = append(out, w)
	}
	return out
}

// SetPeers implements Network. New ways are made before old ones are taken away.
func (n *Node) SetPeers(_ context.Context, peers []Peer) error {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	ways := planWays(n.opts, peers, n.onLink)
	vxlan := 0
	if slices.ContainsFunc(ways, func(w way) bool { return w.vtep.IsValid() }) {
		var err error
		if vxlan, err = n.ensureVXLAN(); err != nil {
			return err
		}
	}
	var errs []error
	for _, w := range ways {
		errs = append(errs, n.makeWay(w, vxlan))
	}
	errs = append(errs, n.removeOtherWays(ways), n.removeOtherVTEPs(ways, vxlan))
	if vxlan == 0 {
		errs = append(errs, deleteLink(n.handle, vxlanName))
	}
	return errors.Join(errs...)
}

// onLink tells whether the kernel reaches the address without a router.
func (n *Node) onLink(addr netip.Addr) bool {
	routes, err := n.handle.RouteGet(addr.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Gw == nil && routes[0].LinkIndex != loIndex
}

// makeWay is idempotent: everything in it replaces what is there.
func (n *Node) makeWay(w way, vxlan int) error {
	route := &netlink.Route{Dst: ipNet(w.dst), Gw: w.gateway.AsSlice(), Protocol: routeProtocol}
	if w.vtep.IsValid() {
		route.LinkIndex, route.Flags, route.Src = vxlan, int(netlink.FLAG_ONLINK), n.own.AsSlice()
		if err := n.handle.NeighSet(neighbour(vxlan, w.gateway, mac(vtepMACPrefix, w.vtep))); err != nil {
			return fmt.Errorf("network: neighbour %s: %w", w.gateway, err)
		}
		if err := n.handle.NeighSet(forwarding(vxlan, w.vtep)); err != nil {
			return fmt.Errorf("network: forwarding to %s: %w", w.vtep, err)
		}
	}
	if err := n.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("network: route to %s by way of %s: %w", w.dst, w.gateway, err)
	}
	return nil
}

// forwarding is the entry that tells the VXLAN device where a peer's MAC is.
func forwarding(vxlan int, vtep netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: vxlan, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF,
		IP: vtep.AsSlice(), HardwareAddr: mac(vtepMACPrefix, vtep),
	}
}

func (n *Node) removeOtherWays(ways []way) error {
	wanted := map[netip.Prefix]bool{}
	for _, w := range ways {
		wanted[w.dst] = true
	}
	routes, err := ownRoutes(n.handle)
	if err != nil {
		return err
	}
	for _, route := range routes {
		if route.Gw == nil || wanted[prefixOf(route.Dst)] {
			continue // a MiniPod's own route, the service range's, or one of the ways
		}
		if err := n.handle.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("network: removing the route to %s: %w", route.Dst, err)
		}
	}
	return nil
}

// ownRoutes are all that this package made.
func ownRoutes(handle *netlink.Handle) ([]netlink.Route, error) {
	routes, err := handle.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("network: listing routes: %w", err)
	}
	return routes, nil
}

func (n *Node) removeOtherVTEPs(ways []way, vxlan int) error {
	if vxlan == 0 {
		return nil
	}
	wanted := map[netip.Addr]bool{}
	for _, w := range ways {
		wanted[w.gateway], wanted[w.vtep] = true, true
	}
	for _, family := range []int{unix.AF_INET, unix.AF_BRIDGE} {
		entries, err := n.handle.NeighList(vxlan, family)
		if err != nil {
			return fmt.Errorf("network: listing neighbours of %s: %w", vxlanName, err)
		}
		for _, entry := range entries {
			addr, _ := netip.AddrFromSlice(entry.IP)
			ours := addrOfMAC(vtepMACPrefix, entry.HardwareAddr).IsValid()
			if !ours || wanted[addr.Unmap()] {
				continue
			}
			entry.Family = family
			if err := n.handle.NeighDel(&entry); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("network: removing neighbour %s: %w", addr, err)
			}
		}
	}
	return nil
}

// ensureVXLAN makes the device, or makes it anew if it is not what it should be.
func (n *Node) ensureVXLAN() (index int, err error) {
	under, err := n.linkOf(n.opts.NodeIP)
	if err != nil {
		return 0, err
	}
	want := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{
			Name: vxlanName, HardwareAddr: mac(vtepMACPrefix, n.opts.NodeIP), MTU: under.Attrs().MTU - vxlanOverhead, TxQLen: -1,
		},
		VxlanId: n.opts.VXLANID, Port: n.opts.VXLANPort, SrcAddr: n.opts.NodeIP.AsSlice(), VtepDevIndex: under.Attrs().Index,
	}
	link, err := n.handle.LinkByName(vxlanName)
	if err != nil || !sameVXLAN(link, want) {
		if err := deleteLink(n.handle, vxlanName); err != nil {
			return 0, err
		}
		if err := n.handle.LinkAdd(want); err != nil {
			return 0, fmt.Errorf("network: adding %s: %w", vxlanName, err)
		}
		link = want
	}
	if err := linkSysctls(vxlanName, rpLoose); err != nil {
		return 0, err
	}
	if err := n.handle.AddrReplace(link, &netlink.Addr{IPNet: hostNet(n.own)}); err != nil {
		return 0, fmt.Errorf("network: address of %s: %w", vxlanName, err)
	}
	if err := n.handle.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("network: setting %s up: %w", vxlanName, err)
	}
	return link.Attrs().Index, nil
}

func sameVXLAN(link netlink.Link, want *netlink.Vxlan) bool {
	have, ok := link.(*netlink.Vxlan)
	return ok && have.VxlanId == want.VxlanId && have.Port == want.Port && have.VtepDevIndex == want.VtepDevIndex &&
		net.IP.Equal(have.SrcAddr, want.SrcAddr) && bytes.Equal(have.HardwareAddr, want.HardwareAddr) && have.MTU == want.MTU
}
