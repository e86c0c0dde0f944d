// Package nettest gives tests network namespaces of their own with real links between them, in which packets are really
// sent. It is for tests that run as root; without root they are skipped, aloud, and where CI is set they fail instead.
//
// A namespace belongs to a thread, and Go moves goroutines between threads. Everything that must happen inside therefore
// goes through NS.Do, which holds a thread for as long as its function runs.
package nettest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// NS is a network namespace that goes away with its test.
type NS struct {
	t    testing.TB
	name string
	ns   netns.NsHandle
}

// Root skips the test where it cannot run.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root, and CI must run it")
	}
	t.Skip("this test needs root: it makes network namespaces and sends packets through them")
}

// New makes a namespace with lo up. The name is for messages only.
func New(t testing.TB, name string) *NS {
	t.Helper()
	Root(t)
	n := &NS{t: t, name: name}
	onThread(func() {
		before, err := netns.Get()
		check(t, err)
		defer func() { _ = before.Close() }()
		n.ns, err = netns.New()
		check(t, err)
		check(t, netns.Set(before))
	})
	t.Cleanup(func() { _ = n.ns.Close() })
	n.Do(func() {
		lo, err := netlink.LinkByName("lo")
		check(t, err)
		check(t, netlink.LinkSetUp(lo))
		// Links are what they will be at once: without this the kernel asks for a second whether somebody else has their IPv6 address, and
		// makes a route when nobody has answered.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0); !errors.Is(err, fs.ErrNotExist) {
			check(t, err)
		}
	})
	return n
}

// Path opens the namespace, for as long as the test runs.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.ns)) }

// Do runs f in the namespace, on a thread of its own. Programs that f starts are in the namespace too; goroutines that it
// starts are not.
func (n *NS) Do(f func()) {
	n.t.Helper()
	onThread(func() {
		before, err := netns.Get()
		check(n.t, err)
		defer func() { _ = before.Close() }()
		check(n.t, netns.Set(n.ns))
		defer func() { check(n.t, netns.Set(before)) }()
		f()
	})
}

// Run runs a program in the namespace and returns what it prints. The test fails if the program does.
func (n *NS) Run(program string, args ...string) string {
	n.t.Helper()
	out, err := n.Try(program, args...)
	if err != nil {
		n.t.Fatalf("%s: %s %s: %v\n%s", n.name, program, strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run for programs that may fail.
func (n *NS) Try(program string, args ...string) (string, error) {
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command(program, args...).CombinedOutput() })
	return string(out), err
}

// Link joins two namespaces by a link with an address on each end. The ends are called as the other namespace.
func Link(a *NS, addrA string, b *NS, addrB string) {
	a.t.Helper()
	a.Do(func() {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: b.name, TxQLen: -1})
		veth.PeerName, veth.PeerNamespace = a.name, netlink.NsFd(int(b.ns))
		check(a.t, netlink.LinkAdd(veth))
	})
	a.setUp(b.name, addrA)
	b.setUp(a.name, addrB)
}

// Bridge joins namespaces by a switch, as on one Ethernet. The address of each is given in the order of the namespaces;
// their links are called eth0.
func Bridge(sw *NS, members []*NS, addrs []string) {
	sw.t.Helper()
	sw.Do(func() { check(sw.t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})) })
	for i, member := range members {
		port := fmt.Sprintf("port%d", i)
		sw.Do(func() {
			veth := netlink.NewVeth(netlink.LinkAttrs{Name: port, TxQLen: -1})
			veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(int(member.ns))
			check(sw.t, netlink.LinkAdd(veth))
			br, err := netlink.LinkByName("br0")
			check(sw.t, err)
			check(sw.t, netlink.LinkSetMaster(veth, br))
			check(sw.t, netlink.LinkSetUp(veth))
			check(sw.t, netlink.LinkSetUp(br))
		})
		member.setUp("eth0", addrs[i])
	}
}

func (n *NS) setUp(link, addr string) {
	n.t.Helper()
	n.Do(func() {
		l, err := netlink.LinkByName(link)
		check(n.t, err)
		check(n.t, netlink.LinkSetUp(l))
		a, err := netlink.ParseAddr(addr)
		check(n.t, err)
		check(n.t, netlink.AddrAdd(l, a))
	})
}

// Route adds a route by way of a gateway; "0.0.0.0/0" is the default one.
func (n *NS) Route(dst, gateway string) {
	n.t.Helper()
	n.Do(func() {
		p := netip.MustParsePrefix(dst)
		check(n.t, netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}, Gw: net.ParseIP(gateway),
		}))
	})
}

// Forward makes the namespace a router.
func (n *NS) Forward() {
	n.t.Helper()
	n.Do(func() { check(n.t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)) })
}

func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
	<-done
}

// check panics, because it is called where t.Fatal must not be: on other goroutines than the test's.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		panic(fmt.Sprintf("nettest: %v", err))
	}
}
