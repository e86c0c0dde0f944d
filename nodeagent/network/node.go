package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/utils/keymutex"

	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/nodeagent/conntrack"
)

// ErrExhausted is what an error of Attach Is when the node's range has no free address.
var ErrExhausted = ipam.ErrExhausted

// lockBuckets is over how many locks the UIDs are spread; two of one bucket wait for each other.
const lockBuckets = 1024

// Options say what the network of a node is made from.
type Options struct {
	// NodeIP is the node's address towards other nodes. It must be on one of its links.
	NodeIP netip.Addr
	// PodCIDR is the range of this node's MiniPods, IPv4, at most a /30. The first address is the node's own.
	PodCIDR netip.Prefix
	// ClusterPodCIDR is the range of all nodes' MiniPods; it holds PodCIDR.
	ClusterPodCIDR netip.Prefix
	// ServiceCIDR, if valid, gets a route, so that the node itself can reach virtual IPs without having a default route,
	// and never sends what is meant for one to its router.
	ServiceCIDR netip.Prefix
	// StateDir gets a directory "network" with the records of addresses.
	StateDir string
	// MTU of MiniPods' links in bytes; 0 for that of the node's link less what VXLAN takes.
	MTU int
	// VXLANID (24 bits) and VXLANPort (UDP) of the device to peers on other links; 0 for the defaults.
	VXLANID, VXLANPort int
	// Encapsulation says which peers are reached through VXLAN; EncapsulateAuto if empty.
	Encapsulation Encapsulation
	// Log gets what was mended.
	Log logr.Logger
}

// Defaults of Options. The port is not one that common network plugins use, because a device in their mode would be in
// the way of ours.
const (
	DefaultVXLANID   = 0x6d696e
	DefaultVXLANPort = 8473
	vxlanOverhead    = 50
)

// Node is the Network of the network namespace in which it was made. Its methods must be called in that namespace.
type Node struct {
	opts    Options
	own     netip.Addr
	records records
	handle  *netlink.Handle
	flows   *conntrack.Table
	pool    *ipam.Pool
	reaper  *reaper

	mu     sync.Mutex
	addrs  map[string]netip.Addr // by UID: what the records say
	strays map[string]netip.Addr // by name: links whose record is lost
	linked map[string]netip.Addr // by name: links that are whole and must stay so
	busy   keymutex.KeyMutex     // one Attach or Detach per UID at a time

	peersMu sync.Mutex // for all that follows
	peers   []Peer
	near    map[netip.Addr]bool // what is known of peers' addresses
	ways    []way               // what should be
	refused []string
	made    map[netip.Prefix]way // what was made
	vxlan   int                  // index of the device, 0 for none
	swept   bool                 // nothing of an earlier agent is left
	// toldIdle is that there is no device and no need for one but echoes.
	toldIdle bool

	watch    watched
	echoWait time.Duration
}

var _ Network = (*Node)(nil)

// New opens the network of a node and learns from the records and from the kernel who has which address. It needs
// CAP_NET_ADMIN. Close it in the end; closing changes nothing on the node.
func New(opts Options) (*Node, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	n := &Node{
		opts: opts, own: ownAddr(opts.PodCIDR),
		records: recordsIn(opts.StateDir),
		pool:    ipam.New(opts.PodCIDR),
		strays:  map[string]netip.Addr{}, linked: map[string]netip.Addr{},
		near: map[netip.Addr]bool{}, made: map[netip.Prefix]way{},
		busy:     keymutex.NewHashed(lockBuckets),
		echoWait: echoWait,
	}
	for _, step := range []func() error{n.open, n.recover, n.prepareHost} {
		if err := step(); err != nil {
			n.Close()
			return nil, err
		}
	}
	return n, nil
}

func (o *Options) validate() error {
	switch {
	case !o.NodeIP.Is4():
		return fmt.Errorf("network: node IP %s must be IPv4", o.NodeIP)
	case !o.PodCIDR.Addr().Is4() || o.PodCIDR.Bits() < 8 || o.PodCIDR.Bits() > smallestRange:
		return fmt.Errorf("network: the node's pod range %s must be IPv4 and from /8 to /30", o.PodCIDR)
	case !o.ClusterPodCIDR.IsValid() || o.ClusterPodCIDR.Bits() > o.PodCIDR.Bits() || !o.ClusterPodCIDR.Contains(o.PodCIDR.Addr()):
		return fmt.Errorf("network: the cluster's pod range %s must hold the node's, %s", o.ClusterPodCIDR, o.PodCIDR)
	case o.StateDir == "":
		return errors.New("network: a state directory is needed")
	}
	o.PodCIDR, o.ClusterPodCIDR = o.PodCIDR.Masked(), o.ClusterPodCIDR.Masked()
	if o.VXLANID == 0 {
		o.VXLANID = DefaultVXLANID
	}
	if o.VXLANPort == 0 {
		o.VXLANPort = DefaultVXLANPort
	}
	return nil
}

// open opens the sockets to the kernel, which stay in the namespace where they were opened.
func (n *Node) open() (err error) {
	if n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("network: opening netlink: %w", err)
	}
	if n.reaper, err = newReaper(n.handle); err != nil {
		return err
	}
	n.flows, err = conntrack.Open(conntrack.Rest)
	return err
}

// Close gives the kernel's sockets back. Everything on the node stays.
func (n *Node) Close() {
	if n.handle != nil {
		n.handle.Close()
	}
	if n.reaper != nil {
		n.reaper.socket.Close()
	}
	if n.flows != nil {
		n.flows.Close()
	}
}

// List implements Network. It also tells of what is only half attached.
func (n *Node) List(context.Context) (map[string]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.addrs), nil
}

// recover reads the records, then the links that are there, so that no address is given twice.
func (n *Node) recover() error {
	addrs, err := n.records.read()
	if err != nil {
		return err
	}
	n.addrs = addrs
	if err := n.pool.Reserve(n.own, "the node itself"); err != nil {
		return fmt.Errorf("network: the node's own address: %w", err)
	}
	known, names := make(map[string]bool, len(addrs)), make(map[string]netip.Addr, len(addrs))
	for uid, addr := range addrs {
		known[linkName(uid)] = true
		names[linkName(uid)] = addr
		if err := n.reserve(addr, uid); err != nil {
			return err
		}
	}
	links, err := ownLinks(n.handle)
	if err != nil {
		return err
	}
	for name, addr := range links {
		if known[name] {
			if names[name] == addr {
				n.linked[name] = addr
			}
			continue
		}
		n.strays[name] = addr
		if err := n.reserve(addr, name); err != nil {
			return err
		}
	}
	return nil
}

// reserve keeps an address from being given. One outside the range, left from when the node had another, needs no
// keeping.
func (n *Node) reserve(addr netip.Addr, owner string) error {
	if !n.opts.PodCIDR.Contains(addr) {
		return nil
	}
	if err := n.pool.Reserve(addr, owner); err != nil {
		return fmt.Errorf("network: recovering addresses: %w", err)
	}
	return nil
}

// ownLinks finds the host ends of MiniPods' links, with the addresses that their MACs tell.
func ownLinks(handle *netlink.Handle) (map[string]netip.Addr, error) {
	links, err := whole(handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("network: listing links: %w", err)
	}
	out := map[string]netip.Addr{}
	for _, link := range links {
		name, addr := link.Attrs().Name, addrOfMAC(hostMACPrefix, link.Attrs().HardwareAddr)
		if link.Type() == "veth" && isLinkName(name) && addr.IsValid() {
			out[name] = addr
		}
	}
	return out, nil
}

// prepareHost makes the node a router with a fitting MTU and a route to virtual IPs.
func (n *Node) prepareHost() error {
	if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if n.opts.MTU == 0 {
		link, err := n.linkOf(n.opts.NodeIP)
		if err != nil {
			return err
		}
		n.opts.MTU = link.Attrs().MTU - vxlanOverhead
	}
	return n.serviceRoute()
}

// serviceRoute makes the route to virtual IPs.
func (n *Node) serviceRoute() error {
	if !n.opts.ServiceCIDR.IsValid() {
		return nil
	}
	lo, err := n.handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if err := n.handle.LinkSetUp(lo); err != nil {
		return fmt.Errorf("network: setting lo up: %w", err)
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(n.opts.ServiceCIDR.Masked()), Src: n.opts.NodeIP.AsSlice(),
		Scope: netlink.SCOPE_LINK, Protocol: routeProtocol, MTU: n.opts.MTU,
	}
	if err := n.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("network: route to the service range %s: %w", n.opts.ServiceCIDR, err)
	}
	return nil
}

// linkOf finds the link that has the address.
func (n *Node) linkOf(addr netip.Addr) (netlink.Link, error) {
	addrs, err := whole(func() ([]netlink.Addr, error) { return n.handle.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("network: listing addresses: %w", err)
	}
	for _, a := range addrs {
		if prefixOf(a.IPNet).Addr() == addr {
			return n.handle.LinkByIndex(a.LinkIndex)
		}
	}
	return nil, fmt.Errorf("network: no link of this node has the node IP %s", addr)
}
