//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	netnsDir   = "/run/netns"
	bridgeName = "br0"
	nodeLink   = "eth0"
)

// inNetNS runs do on a thread inside the named network namespace. The thread ends afterwards, and with it the danger that
// something else runs on it.
func inNetNS(name string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- enterNetNS(name, do)
	}()
	return <-done
}

func enterNetNS(name string, do func() error) error {
	handle, err := netns.GetFromPath(filepath.Join(netnsDir, name))
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer func() { _ = handle.Close() }()
	if err := netns.Set(handle); err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	return do()
}

// netnsExists tells whether a name is pinned to a network namespace, and is not just a file left by a crash.
func netnsExists(name string) bool {
	var fs syscall.Statfs_t
	const nsfsMagic = 0x6e736673
	return syscall.Statfs(filepath.Join(netnsDir, name), &fs) == nil && fs.Type == nsfsMagic
}

// ensureNetNS makes a network namespace with its loopback up, unless it is there.
func ensureNetNS(name string) error {
	if netnsExists(name) {
		return nil
	}
	_ = os.Remove(filepath.Join(netnsDir, name))
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		handle, err := netns.NewNamed(name)
		if err != nil {
			made <- fmt.Errorf("network namespace %s: %w", name, err)
			return
		}
		defer func() { _ = handle.Close() }()
		made <- linkUp("lo")
	}()
	return <-made
}

func removeNetNS(name string) error {
	path := filepath.Join(netnsDir, name)
	if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// netnsNames lists the pinned namespaces of this cluster.
func netnsNames(l Layout) []string {
	var names []string
	found, _ := filepath.Glob(filepath.Join(netnsDir, l.Prefix()+"-*"))
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	return names
}

// ensureControlPlaneNetwork makes the bridge that everything hangs on, and the host's way to it.
func ensureControlPlaneNetwork(l Layout) error {
	if err := ensureNetNS(l.ControlPlane()); err != nil {
		return err
	}
	if err := inNetNS(l.ControlPlane(), func() error { return ensureBridge(l) }); err != nil {
		return err
	}
	if _, err := netlink.LinkByName(l.HostLink()); err != nil {
		if err := checkRange(l); err != nil {
			return err
		}
		if err := addPort(l, l.HostLink(), "host", l.HostIP(), 0); err != nil {
			return err
		}
	}
	return addAddress(l.HostLink(), l.HostIP(), l.Subnet())
}

func ensureBridge(l Layout) error {
	if _, err := netlink.LinkByName(bridgeName); err != nil {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, HardwareAddr: l.MAC(l.ControlPlaneIP())}}); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
	}
	return addAddress(bridgeName, l.ControlPlaneIP(), l.Subnet())
}

// ensureNodeNetwork makes a node's namespace: one link to the bridge, and a default route, so that the node can try to
// reach a virtual IP, which has no route of its own. Nothing is forwarded beyond the control plane.
func ensureNodeNetwork(l Layout, node int) error {
	name := l.Node(node)
	if err := ensureNetNS(name); err != nil {
		return err
	}
	handle, err := netns.GetFromName(name)
	if err != nil {
		return err
	}
	defer func() { _ = handle.Close() }()
	missing := inNetNS(name, func() error { _, err := netlink.LinkByName(nodeLink); return err })
	if missing != nil {
		if err := addPort(l, nodeLink, name, l.NodeIP(node), int(handle)); err != nil {
			return err
		}
	}
	return inNetNS(name, func() error {
		if err := addAddress(nodeLink, l.NodeIP(node), l.Subnet()); err != nil {
			return err
		}
		err := netlink.RouteReplace(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: l.ControlPlaneIP().AsSlice()})
		if err != nil {
			return fmt.Errorf("default route: %w", err)
		}
		return nil
	})
}

// addPort makes a veth pair: the link name in the namespace (0: the host's) for the address, and port on the bridge.
func addPort(l Layout, name, port string, ip netip.Addr, namespace int) error {
	if namespace == 0 {
		host, err := netns.Get()
		if err != nil {
			return err
		}
		defer func() { _ = host.Close() }()
		namespace = int(host)
	}
	// It is made where the port is: older kernels (6.1, for one) want the name of a link, though not that of its peer, to be free where it is
	// made from, and this machine may have an eth0 of its own.
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: name, PeerHardwareAddr: l.MAC(ip), PeerNamespace: netlink.NsFd(namespace)}
	return inNetNS(l.ControlPlane(), func() error {
		_ = removeLink(port) // left over from a namespace that is being torn down
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth %s: %w", port, err)
		}
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
}

func addAddress(link string, ip netip.Addr, subnet netip.Prefix) error {
	dev, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("link %s: %w", link, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}}
	if err := netlink.AddrReplace(dev, address); err != nil {
		return fmt.Errorf("address %s on %s: %w", ip, link, err)
	}
	return netlink.LinkSetUp(dev)
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// checkRange fails when the machine uses our range for something else.
func checkRange(l Layout) error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if ok && ones > 0 && netip.PrefixFrom(ip, ones).Overlaps(l.Subnet()) {
			return fmt.Errorf("this machine has a route to %s already; the local cluster needs %s for itself", r.Dst, l.Subnet())
		}
	}
	return nil
}

// mountsBelow lists the mount points below the directories, the deepest first.
func mountsBelow(dirs ...string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data), dirs), nil
}

// parseMounts reads mount points from mountinfo, in which later mounts come later and spaces are written \040.
func parseMounts(mountinfo string, dirs []string) []string {
	var found []string
	for line := range strings.SplitSeq(mountinfo, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := strings.ReplaceAll(fields[4], `\040`, " ")
		for _, dir := range dirs {
			if point == dir || strings.HasPrefix(point, strings.TrimSuffix(dir, "/")+"/") {
				found = append([]string{point}, found...)
				break
			}
		}
	}
	return found
}
