package network

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkState is a link with those of its parameters that this package sets, as linkSysctls has them.
type linkState struct {
	*netlink.LinkAttrs
	// ipv4 tells that it has parameters for IPv4 at all, which a link with a tiny MTU has not.
	ipv4                 bool
	forwarding, rpFilter uint32
	// ipv6 tells that it speaks IPv6, which a kernel without does not.
	ipv6 bool
}

// asMade tells whether the parameters are what linkSysctls made them. Whoever sets all links' disable_ipv6 does so to ours.
func (l linkState) asMade(rpFilter string) bool {
	return (!l.ipv4 || l.forwarding == 1 && strconv.FormatUint(uint64(l.rpFilter), 10) == rpFilter) && !l.ipv6
}

// listLinks lists all links with their parameters. One answer of the kernel has both. To read the parameters from /proc/sys takes longer with each
// network namespace of the machine, for all have files of the same names there, and the kernel goes through them one by one.
func listLinks() ([]linkState, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	links := make([]linkState, 0, len(messages))
	for _, m := range messages {
		link, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, fmt.Errorf("what the kernel says of a link: %w", err)
		}
		l := linkState{LinkAttrs: link.Attrs()}
		l.read(m[unix.SizeofIfInfomsg:])
		links = append(links, l)
	}
	return links, nil
}

// Where the kernel has its parameters in what it says of a link (linux/if_link.h, linux/ip.h, linux/ipv6.h).
const (
	inetConf, inet6Conf          = 1, 2 // IFLA_INET_CONF, IFLA_INET6_CONF
	inetForwarding, inetRPFilter = 0, 7 // IPV4_DEVCONF_FORWARDING and _RP_FILTER, which count from one
	inet6Disabled                = 26   // DEVCONF_DISABLE_IPV6
)

// read takes the parameters from the attributes of a link.
func (l *linkState) read(data []byte) {
	for _, families := range attributes(data) {
		if families.Attr.Type&^unix.NLA_F_NESTED != unix.IFLA_AF_SPEC {
			continue
		}
		for _, family := range attributes(families.Value) {
			switch family.Attr.Type &^ unix.NLA_F_NESTED {
			case unix.AF_INET:
				if conf := attribute(family.Value, inetConf); conf != nil {
					l.ipv4, l.forwarding, l.rpFilter = true, number(conf, inetForwarding), number(conf, inetRPFilter)
				}
			case unix.AF_INET6:
				if conf := attribute(family.Value, inet6Conf); conf != nil {
					l.ipv6 = number(conf, inet6Disabled) == 0
				}
			}
		}
	}
}

// attribute is the value of that type; nil if there is none.
func attribute(data []byte, kind uint16) []byte {
	for _, a := range attributes(data) {
		if a.Attr.Type == kind {
			return a.Value
		}
	}
	return nil
}

// number is the i-th of an array of numbers, zero where it has none.
func number(array []byte, i int) uint32 {
	if len(array) < 4*(i+1) {
		return 0
	}
	return binary.NativeEndian.Uint32(array[4*i:])
}
