package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"net"
	"net/netip"
	"strings"
)

const (
	// linkPrefix begins the name of the host end of every MiniPod's link.
	linkPrefix = "mini"
	// vxlanName is the device to peers on other links. No host end has this name, for their names have no dot.
	vxlanName = "mini.vxlan"
	// podLink is the name of the inner end.
	podLink = "eth0"
	// routeProtocol marks the routes of this package (rtm_protocol in rtnetlink(7); numbers from 4 up are free to use).
	routeProtocol = 98
)

// gateway is the node as its MiniPods see it.
var gateway = netip.AddrFrom4([4]byte{169, 254, 1, 1})

// MACs are locally administered and hold an IPv4 address, so that nobody needs to ask for them. The second byte is
// this package's mark.
var (
	podMACPrefix  = []byte{0x02, 0x6d}
	hostMACPrefix = []byte{0x06, 0x6d}
	vtepMACPrefix = []byte{0x0a, 0x6d}
)

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// linkName is the name of a MiniPod's host end: 15 characters, the most that Linux takes.
func linkName(podUID string) string {
	sum := sha256.Sum256([]byte(podUID))
	return linkPrefix + nameEncoding.EncodeToString(sum[:7])[:11]
}

// isLinkName tells whether linkName may have made the name.
func isLinkName(name string) bool {
	return len(name) == 15 && strings.HasPrefix(name, linkPrefix) && !strings.ContainsAny(name[len(linkPrefix):], ".-_ ")
}

func mac(prefix []byte, addr netip.Addr) net.HardwareAddr {
	ip := addr.As4()
	return append(bytes.Clone(prefix), ip[:]...)
}

// addrOfMAC reads the address back; not valid if the MAC is of another kind.
func addrOfMAC(prefix []byte, mac net.HardwareAddr) netip.Addr {
	if len(mac) != 6 || !bytes.HasPrefix(mac, prefix) {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(mac[2:]))
}

// ownAddr is the node's own address in its range: the first one.
func ownAddr(podCIDR netip.Prefix) netip.Addr { return podCIDR.Masked().Addr().Next() }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func hostNet(addr netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(addr, 32)) }

// prefixOf converts back; not valid for nil and for what is not IPv4.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits != 32 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr.Unmap(), ones)
}
