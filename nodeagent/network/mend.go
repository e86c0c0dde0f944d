package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mend makes whatever is missing of what was made: routes, the VXLAN device and its entries, links that somebody set down,
// kernel parameters. It costs a look at all of it, and nothing is written that is as it should be. Call it with peersMu held.
func (n *Node) mend() error {
	n.mu.Lock()
	linked := maps.Clone(n.linked) // before the look at routes: what is whole by then has one
	n.mu.Unlock()
	routes, err := ownRoutes(n.handle)
	if err != nil {
		return err
	}
	byDst := make(map[netip.Prefix]netlink.Route, len(routes))
	for _, route := range routes {
		byDst[prefixOf(route.Dst)] = route
	}
	errs := []error{n.mendForwarding(), n.mendServices(byDst), n.mendPods(linked, byDst)}
	if n.peers != nil {
		errs = append(errs, n.mendWays(byDst), n.removeOtherWays(routes), n.removeIdleVXLAN())
	}
	n.watch.note(n, routes)
	return errors.Join(errs...)
}

// mended counts and tells what had to be made again. Nothing counts before it was made once.
func (n *Node) mended(what, which string) {
	restored.WithLabelValues(what).Inc()
	n.opts.Log.Info("Somebody removed a part of the network of MiniPods; made it again", "what", what, "which", which)
}

func (n *Node) mendForwarding() error {
	const name = "net/ipv4/ip_forward"
	if !sysctlDiffers(name, "1") {
		return nil
	}
	n.mended("sysctl", name)
	return sysctl(name, "1")
}

func (n *Node) mendServices(there map[netip.Prefix]netlink.Route) error {
	if _, ok := there[n.opts.ServiceCIDR.Masked()]; ok || !n.opts.ServiceCIDR.IsValid() {
		return nil
	}
	n.mended("route", n.opts.ServiceCIDR.String())
	return n.serviceRoute()
}

// mendPods looks after the host ends of the links that are whole. A link that is gone is not made again here: that
// needs the sandbox.
func (n *Node) mendPods(linked map[string]netip.Addr, there map[netip.Prefix]netlink.Route) error {
	if len(linked) == 0 {
		return nil
	}
	links, err := whole(listLinks)
	if err != nil {
		return fmt.Errorf("network: listing links: %w", err)
	}
	var errs []error
	for _, link := range links {
		addr, ours := linked[link.Name]
		if !ours || link.Group == doomed {
			continue
		}
		if err := n.mendPod(link, addr, there[netip.PrefixFrom(addr, 32)]); err != nil && n.isLinked(link.Name) {
			errs = append(errs, fmt.Errorf("network: link %s: %w", link.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (n *Node) isLinked(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.linked[name]
	return ok
}

func (n *Node) mendPod(link linkState, addr netip.Addr, route netlink.Route) error {
	if !link.asMade(rpStrict) {
		n.mended("sysctl", "conf/"+link.Name)
		if err := linkSysctls(link.Name, rpStrict); err != nil {
			return err
		}
	}
	up := link.RawFlags&unix.IFF_UP != 0
	if up && route.LinkIndex == link.Index {
		return nil
	}
	if !up {
		n.mended("link", link.Name)
		if err := n.handle.LinkSetUp(&netlink.GenericLink{LinkAttrs: *link.LinkAttrs}); err != nil {
			return err
		}
	}
	n.mended("route", addr.String())
	return n.routeToPod(link.Index, addr)
}

// mendWays decides anew how peers are reached, for links may have changed, and makes what is missing.
func (n *Node) mendWays(there map[netip.Prefix]netlink.Route) error {
	known := make(map[netip.Addr]bool, len(n.near))
	for _, peer := range n.peers {
		before, asked := n.near[peer.NodeIP]
		if near, ok := n.askLink(peer.NodeIP); ok {
			known[peer.NodeIP] = near
		} else if asked {
			known[peer.NodeIP] = before
		}
	}
	n.near = known
	n.plan()
	whole, err := n.mendVXLAN()
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range n.ways {
		_, before := n.made[w.dst]
		route := n.routeOf(w)
		lost := route != nil && !sameRoute(there[w.dst], *route) || route == nil && there[w.dst].Gw != nil
		if before && n.made[w.dst] == w && !lost && (whole || !w.vtep.IsValid()) {
			continue
		}
		if before && lost {
			n.mended("route", w.dst.String())
		}
		errs = append(errs, n.makeWay(w))
	}
	n.swept = true
	return errors.Join(errs...)
}

// mendVXLAN tells whether the device and all of its entries are there.
func (n *Node) mendVXLAN() (whole bool, err error) {
	vteps, gateways := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, w := range n.ways {
		if w.vtep.IsValid() {
			vteps[w.vtep], gateways[w.gateway] = true, true
		}
	}
	if len(n.ways) == 0 {
		return true, nil
	}
	before := n.vxlan
	if n.vxlan, err = n.makeVXLAN(); err != nil {
		return false, n.unlessIdle(err)
	}
	kept, err := n.removeOtherVTEPs()
	if err != nil {
		return false, err
	}
	whole = kept == len(vteps)+len(gateways)
	switch {
	case before != 0 && before != n.vxlan:
		n.mended("link", vxlanName)
	case before != 0 && !whole && n.swept:
		n.mended("neighbour", vxlanName)
	}
	return whole && before == n.vxlan, nil
}

// sameRoute compares what this package sets. The kernel finds the link of a plain route itself.
func sameRoute(there, want netlink.Route) bool {
	return there.Gw.Equal(want.Gw) && (want.LinkIndex == 0 || there.LinkIndex == want.LinkIndex)
}

// sysctlDiffers tells whether a kernel parameter is there with another value.
func sysctlDiffers(name, want string) bool {
	value, err := os.ReadFile(filepath.Join("/proc/sys", name))
	return err == nil && strings.TrimSpace(string(value)) != want
}
