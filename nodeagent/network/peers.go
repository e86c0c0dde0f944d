package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetPeers implements Network. It costs what changed. New ways are made before old ones are taken away.
func (n *Node) SetPeers(_ context.Context, peers []Peer) error {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	n.peers = slices.Clone(peers)
	if n.peers == nil {
		n.peers = []Peer{}
	}
	n.plan()
	if !n.swept { // an agent before this one may have left others
		return n.mend()
	}
	errs := []error{n.ensureOwn()}
	wanted := make(map[netip.Prefix]bool, len(n.ways))
	for _, w := range n.ways {
		wanted[w.dst] = true
		if n.made[w.dst] != w {
			errs = append(errs, n.makeWay(w))
		}
	}
	var gone []way
	for dst, w := range n.made {
		if !wanted[dst] {
			gone = append(gone, w)
		}
	}
	for _, w := range gone {
		errs = append(errs, n.removeWay(w))
	}
	return errors.Join(append(errs, n.removeIdleVXLAN())...)
}

// Ways tells how the peers that were set are reached.
func (n *Node) Ways() []Way {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	out := make([]Way, 0, len(n.ways))
	for _, w := range n.ways {
		out = append(out, Way{Name: w.name, NodeIP: w.node, PodCIDR: w.dst, Address: ownAddr(w.dst), Near: w.near, Encapsulated: w.vtep.IsValid()})
	}
	return out
}

// Refused says which peers' ranges are not routed, and why.
func (n *Node) Refused() []string {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	return slices.Clone(n.refused)
}

// plan decides anew, with what is known of the links.
func (n *Node) plan() {
	holders := make(map[netip.Prefix]string, len(n.made))
	for dst, w := range n.made {
		holders[dst] = w.name
	}
	n.ways, n.refused = planWays(n.opts, n.peers, n.onLink, holders)
	n.measureWays()
}

// onLink tells whether the kernel reaches the address without a router. It remembers, for a link that is down for a moment
// moves nobody, and many peers are asked after.
func (n *Node) onLink(addr netip.Addr) bool {
	if near, known := n.near[addr]; known {
		return near
	}
	near, known := n.askLink(addr)
	if known {
		n.near[addr] = near
	}
	return near
}

func (n *Node) askLink(addr netip.Addr) (near, known bool) {
	routes, err := n.handle.RouteGet(addr.AsSlice())
	if err != nil || len(routes) == 0 {
		return false, false
	}
	return routes[0].Gw == nil && routes[0].LinkIndex != loIndex, true
}

// makeWay is idempotent: everything in it replaces what is there.
func (n *Node) makeWay(w way) error {
	if w.vtep.IsValid() {
		index, err := n.ensureVXLAN()
		if err != nil {
			return err
		}
		if err := n.handle.NeighSet(neighbour(index, w.gateway, mac(vtepMACPrefix, w.vtep))); err != nil {
			return fmt.Errorf("network: neighbour %s: %w", w.gateway, err)
		}
		if err := n.handle.NeighSet(forwarding(index, w.vtep)); err != nil {
			return fmt.Errorf("network: forwarding to %s: %w", w.vtep, err)
		}
	}
	if route := n.routeOf(w); route != nil {
		if err := n.handle.RouteReplace(route); err != nil {
			return fmt.Errorf("network: route to %s by way of %s: %w", w.dst, w.gateway, err)
		}
	}
	before, there := n.made[w.dst]
	n.made[w.dst] = w
	if !there {
		return nil
	}
	if before.gateway.IsValid() && !w.gateway.IsValid() {
		return n.removeWay(before)
	}
	return n.forgetVTEP(before)
}

// routeOf is the route of a way, or nil where others' routes lead there.
func (n *Node) routeOf(w way) *netlink.Route {
	if !w.gateway.IsValid() {
		return nil
	}
	route := &netlink.Route{Dst: ipNet(w.dst), Gw: w.gateway.AsSlice(), Protocol: routeProtocol}
	if w.vtep.IsValid() {
		route.LinkIndex, route.Flags, route.Src = n.vxlan, int(netlink.FLAG_ONLINK), n.own.AsSlice()
	}
	return route
}

// removeWay removes what makeWay made.
func (n *Node) removeWay(w way) error {
	route := &netlink.Route{Dst: ipNet(w.dst), Protocol: routeProtocol}
	if err := n.handle.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("network: removing the route to %s: %w", w.dst, err)
	}
	delete(n.made, w.dst)
	return n.forgetVTEP(w)
}

// forgetVTEP removes a way's entries of the VXLAN device that no way needs any more.
func (n *Node) forgetVTEP(w way) error {
	if !w.vtep.IsValid() || n.vxlan == 0 {
		return nil
	}
	entries := []*netlink.Neigh{neighbour(n.vxlan, w.gateway, mac(vtepMACPrefix, w.vtep)), forwarding(n.vxlan, w.vtep)}
	for _, now := range n.made {
		if now.vtep.IsValid() && now.gateway == w.gateway {
			entries[0] = nil
		}
		if now.vtep == w.vtep {
			entries[1] = nil
		}
	}
	for _, entry := range entries {
		if entry == nil {
			continue
		}
		if err := n.handle.NeighDel(entry); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("network: removing neighbour %s: %w", entry.IP, err)
		}
	}
	return nil
}

// removeIdleVXLAN removes the device where there is no peer.
func (n *Node) removeIdleVXLAN() error {
	if len(n.ways) > 0 {
		return nil
	}
	n.vxlan = 0
	return deleteLink(n.handle, vxlanName)
}

// forwarding is the entry that tells the VXLAN device where a peer's MAC is.
func forwarding(vxlan int, vtep netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: vxlan, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF,
		IP: vtep.AsSlice(), HardwareAddr: mac(vtepMACPrefix, vtep),
	}
}

// removeOtherWays removes routes to peers that are none, as an agent before this one may have left them.
func (n *Node) removeOtherWays(routes []netlink.Route) error {
	wanted := map[netip.Prefix]bool{}
	for _, w := range n.ways {
		wanted[w.dst] = w.gateway.IsValid()
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
	routes, err := whole(func() ([]netlink.Route, error) {
		return handle.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("network: listing routes: %w", err)
	}
	return routes, nil
}

// removeOtherVTEPs does the same with the entries of the VXLAN device, and returns how many are there that should be.
func (n *Node) removeOtherVTEPs() (kept int, err error) {
	if n.vxlan == 0 {
		return 0, nil
	}
	wanted := map[netip.Addr]bool{}
	for _, w := range n.ways {
		if !w.vtep.IsValid() {
			continue
		}
		wanted[w.gateway], wanted[w.vtep] = true, true
	}
	for _, family := range []int{unix.AF_INET, unix.AF_BRIDGE} {
		entries, err := whole(func() ([]netlink.Neigh, error) { return n.handle.NeighList(n.vxlan, family) })
		if err != nil {
			return 0, fmt.Errorf("network: listing neighbours of %s: %w", vxlanName, err)
		}
		for _, entry := range entries {
			addr, _ := netip.AddrFromSlice(entry.IP)
			ours := addrOfMAC(vtepMACPrefix, entry.HardwareAddr).IsValid()
			if ours && wanted[addr.Unmap()] {
				kept++
			}
			if !ours || wanted[addr.Unmap()] {
				continue
			}
			entry.Family = family
			if err := n.handle.NeighDel(&entry); err != nil && !errors.Is(err, unix.ENOENT) {
				return 0, fmt.Errorf("network: removing neighbour %s: %w", addr, err)
			}
		}
	}
	return kept, nil
}

// encapsulates tells whether a peer is reached through VXLAN.
func (n *Node) encapsulates() bool {
	return slices.ContainsFunc(n.ways, func(w way) bool { return w.vtep.IsValid() })
}

// ensureOwn makes the VXLAN device wherever there are peers, for it has the node's own address in its range, at which they ask
// whether packets get here. Where no peer is reached through it, a kernel without VXLAN is no error; the node is not asked then.
func (n *Node) ensureOwn() error {
	if len(n.ways) == 0 {
		return nil
	}
	_, err := n.ensureVXLAN()
	return n.unlessIdle(err)
}

// unlessIdle is an error of the VXLAN device, where that matters for more than echoes.
func (n *Node) unlessIdle(err error) error {
	if err == nil || n.encapsulates() {
		n.toldIdle = false
		return err
	}
	if !n.toldIdle {
		n.opts.Log.Info("The node has no address of its own in its range; other nodes cannot ask whether packets get here", "err", err.Error())
		n.toldIdle = true
	}
	return nil
}

// AnswersEchoes implements Network.
func (n *Node) AnswersEchoes() bool {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	return n.vxlan != 0
}

// ensureVXLAN makes the device if it is not known to be there.
func (n *Node) ensureVXLAN() (index int, err error) {
	if n.vxlan == 0 {
		n.vxlan, err = n.makeVXLAN()
	}
	return n.vxlan, err
}

// makeVXLAN makes the device, or makes it anew if it is not what it should be. Package proxy has the
// rules that say from whom it takes frames.
func (n *Node) makeVXLAN() (index int, err error) {
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
