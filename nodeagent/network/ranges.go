package network

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"miniplane.dev/miniplane/internal/ranges"
)

// CheckRanges fails when this machine uses addresses of the cluster's MiniPods or MiniServices for something else: for an
// address of its own, or a route that this package did not make.
func CheckRanges(podCIDR, serviceCIDR netip.Prefix) error {
	routes, err := foreignRoutes()
	if err != nil {
		return fmt.Errorf("routes of this machine: %w", err)
	}
	addresses, err := foreignAddresses()
	if err != nil {
		return fmt.Errorf("addresses of this machine: %w", err)
	}
	ours := []ranges.Range{{Name: "--pod-cidr", Prefix: podCIDR}, {Name: "--service-cidr", Prefix: serviceCIDR}}
	return ranges.Check(ours, append(addresses, routes...))
}

// halfOfAll is the length of the prefix of a half of all addresses. VPNs route both halves instead of a default route; such a
// route says as little about who uses an address as a default route does.
const halfOfAll = 1

// foreignRoutes are those of the main table that are not ours. Routes to an address of the machine itself are in another
// table; foreignAddresses tells of them.
func foreignRoutes() ([]ranges.Range, error) {
	routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, err
	}
	own, err := ownIndexes()
	if err != nil {
		return nil, err
	}
	var out []ranges.Range
	for _, route := range routes {
		if route.Dst == nil || route.Protocol == routeProtocol || own[route.LinkIndex] {
			continue
		}
		bits, _ := route.Dst.Mask.Size()
		if addr, ok := netip.AddrFromSlice(route.Dst.IP.To4()); ok && bits > halfOfAll {
			out = append(out, ranges.Range{Name: "a route of this machine", Prefix: netip.PrefixFrom(addr, bits)})
		}
	}
	return out, nil
}

func foreignAddresses() ([]ranges.Range, error) {
	addresses, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, err
	}
	own, err := ownIndexes()
	if err != nil {
		return nil, err
	}
	var out []ranges.Range
	for _, address := range addresses {
		if addr, ok := netip.AddrFromSlice(address.IP.To4()); ok && !own[address.LinkIndex] {
			out = append(out, ranges.Addr("an address of this machine", addr))
		}
	}
	return out, nil
}

// ownIndexes are the links that this package made, by index.
func ownIndexes() (map[int]bool, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	own := map[int]bool{}
	for _, link := range links {
		if name := link.Attrs().Name; name == vxlanName || isLinkName(name) {
			own[link.Attrs().Index] = true
		}
	}
	return own, nil
}
