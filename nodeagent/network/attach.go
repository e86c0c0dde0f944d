package network

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// loIndex is lo's in every network namespace.
const loIndex = 1

// Attach implements Network: the address first, then the pair of links, then each end, inner first. Every step may find
// itself done.
func (n *Node) Attach(ctx context.Context, podUID, netnsPath string) (netip.Addr, error) {
	n.busy.LockKey(podUID)
	defer func() { _ = n.busy.UnlockKey(podUID) }()
	if err := ctx.Err(); err != nil {
		return netip.Addr{}, err
	}
	ns, err := netns.GetFromPath(netnsPath)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("network: opening the network namespace %s: %w", netnsPath, err)
	}
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("network: entering the network namespace %s: %w", netnsPath, err)
	}
	defer inside.Close()
	addr, err := n.address(podUID)
	if err != nil {
		return netip.Addr{}, err
	}
	pair := pair{node: n, inside: inside, ns: ns, name: linkName(podUID), addr: addr}
	if err := pair.connect(); err != nil {
		return netip.Addr{}, fmt.Errorf("network: connecting MiniPod %s: %w", podUID, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linked[pair.name] = addr
	return addr, nil
}

// address is the MiniPod's: the recorded one, the one its link has, or a new one, and it is recorded.
func (n *Node) address(podUID string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr, ok := n.addrs[podUID]; ok {
		return addr, nil
	}
	name := linkName(podUID)
	addr, stray := n.strays[name]
	if !stray {
		var err error
		if addr, err = n.pool.Allocate(podUID); err != nil {
			return netip.Addr{}, fmt.Errorf("network: an address of %s: %w", n.opts.PodCIDR, err)
		}
	}
	if err := n.records.write(podUID, addr); err != nil {
		if !stray {
			n.pool.Release(addr)
		}
		return netip.Addr{}, err
	}
	delete(n.strays, name)
	n.addrs[podUID] = addr
	return addr, nil
}

// pair is the link of one MiniPod while it is being made.
type pair struct {
	node   *Node
	inside *netlink.Handle
	ns     netns.NsHandle
	name   string
	addr   netip.Addr
}

func (p pair) connect() error {
	host, pod, err := p.ends()
	if err != nil {
		return err
	}
	if err := p.setUpInside(pod); err != nil {
		return err
	}
	if err := p.setUpHost(host); err != nil {
		return err
	}
	return p.awaitCarrier(pod)
}

// ends finds the two ends, or makes them. A pair whose other end is elsewhere, as when the sandbox was made anew, is
// replaced.
func (p pair) ends() (host, pod int, err error) {
	if host, pod, ok := p.find(); ok {
		return host, pod, nil
	}
	if err := deleteLink(p.node.handle, p.name); err != nil {
		return 0, 0, err
	}
	veth := netlink.NewVeth(netlink.LinkAttrs{
		Name: p.name, MTU: p.node.opts.MTU, HardwareAddr: mac(hostMACPrefix, p.addr), TxQLen: -1,
	})
	veth.PeerName, veth.PeerMTU = podLink, uint32(p.node.opts.MTU)
	veth.PeerHardwareAddr, veth.PeerNamespace = mac(podMACPrefix, p.addr), netlink.NsFd(int(p.ns))
	if err := p.node.handle.LinkAdd(veth); err != nil {
		return 0, 0, fmt.Errorf("adding link %s: %w", p.name, err)
	}
	host, pod, ok := p.find()
	if !ok {
		return 0, 0, fmt.Errorf("link %s went away while it was being made", p.name)
	}
	return host, pod, nil
}

// find tells the indexes of the ends if they are what they should be and belong together.
func (p pair) find() (host, pod int, ok bool) {
	h, err := p.node.handle.LinkByName(p.name)
	if err != nil || h.Attrs().Group == doomed || !bytes.Equal(h.Attrs().HardwareAddr, mac(hostMACPrefix, p.addr)) {
		return 0, 0, false
	}
	i, err := p.inside.LinkByName(podLink)
	if err != nil || !bytes.Equal(i.Attrs().HardwareAddr, mac(podMACPrefix, p.addr)) {
		return 0, 0, false
	}
	together := h.Attrs().ParentIndex == i.Attrs().Index && i.Attrs().ParentIndex == h.Attrs().Index
	return h.Attrs().Index, i.Attrs().Index, together
}

func (p pair) setUpInside(index int) error {
	lo := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: loIndex, Name: "lo"}}
	eth := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index, Name: podLink}}
	if err := p.inside.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	if err := p.inside.AddrReplace(eth, &netlink.Addr{IPNet: hostNet(p.addr)}); err != nil {
		return fmt.Errorf("setting address %s: %w", p.addr, err)
	}
	if err := p.inside.LinkSetUp(eth); err != nil {
		return fmt.Errorf("setting %s up: %w", podLink, err)
	}
	if err := p.inside.NeighSet(neighbour(index, gateway, mac(hostMACPrefix, p.addr))); err != nil {
		return fmt.Errorf("neighbour %s: %w", gateway, err)
	}
	toGateway := &netlink.Route{LinkIndex: index, Dst: hostNet(gateway), Scope: netlink.SCOPE_LINK}
	if err := p.inside.RouteReplace(toGateway); err != nil {
		return fmt.Errorf("route to the gateway: %w", err)
	}
	byDefault := &netlink.Route{LinkIndex: index, Gw: gateway.AsSlice()}
	if err := p.inside.RouteReplace(byDefault); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

func (p pair) setUpHost(index int) error {
	if err := linkSysctls(p.name, rpStrict); err != nil {
		return err
	}
	if err := p.node.handle.LinkSetUp(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index, Name: p.name}}); err != nil {
		return fmt.Errorf("setting %s up: %w", p.name, err)
	}
	return p.node.routeToPod(index, p.addr)
}

// routeToPod makes what leads from the node to a MiniPod.
func (n *Node) routeToPod(index int, addr netip.Addr) error {
	if err := n.handle.NeighSet(neighbour(index, addr, mac(podMACPrefix, addr))); err != nil {
		return fmt.Errorf("neighbour %s: %w", addr, err)
	}
	route := &netlink.Route{
		LinkIndex: index, Dst: hostNet(addr), Src: n.opts.NodeIP.AsSlice(),
		Scope: netlink.SCOPE_LINK, Protocol: routeProtocol,
	}
	if err := n.handle.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %s: %w", addr, err)
	}
	return nil
}

// awaitCarrier waits until the inner end, which was up before it had anybody to talk to, really sends. The kernel sees to
// that in a work queue of its own, and drops packets before; newer kernels (6.9) do it at once when asked for the link.
func (p pair) awaitCarrier(index int) error {
	const tries, pause = 200, time.Millisecond
	for range tries {
		link, err := p.inside.LinkByIndex(index)
		if err != nil {
			return fmt.Errorf("looking for %s: %w", podLink, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(pause) //nolint:forbidigo // a notification would need a socket in that namespace, which costs more than the wait
	}
	return fmt.Errorf("%s has no carrier after %s", podLink, tries*pause)
}

func neighbour(index int, addr netip.Addr, mac []byte) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac,
	}
}
