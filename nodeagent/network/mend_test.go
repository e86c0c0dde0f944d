package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/nettest"
	"miniplane.dev/miniplane/test/testenv"
)

// longest is how long mending may take here: a second, and what a busy machine adds.
const longest = 5 * time.Second

// run keeps the node's network, as the agent does, until the test ends.
func (n *node) run() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(done)
		n.Do(func() {
			close(ready)
			n.Node.Run(ctx)
		})
	}()
	<-ready
	n.t.Cleanup(func() { cancel(); <-done })
}

// changes are the kernel's messages about links, addresses, routes, neighbours and parameters.
func (n *node) changes() <-chan struct{} {
	n.t.Helper()
	out := make(chan struct{}, 1)
	var socket *nl.NetlinkSocket
	var err error
	n.Do(func() {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_NETCONF)
	})
	check(n.t, err)
	n.t.Cleanup(socket.Close)
	go func() {
		for {
			if _, _, err := socket.Receive(); err != nil {
				return
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// wantBack does harm and waits until the state is what it was, looking after each change that the kernel tells of.
func (n *node) wantBack(changes <-chan struct{}, state func() string, harm func()) {
	n.t.Helper()
	before := state()
	started := time.Now()
	harm()
	late := time.After(longest)
	for state() != before {
		select {
		case <-changes:
		case <-late:
			same(n.t, "after the harm", before, state())
			return
		}
	}
	n.t.Logf("whole again after %s", time.Since(started).Round(time.Millisecond))
}

// healthy is all that must come back: routes, the VXLAN device with its entries, and parameters.
func (n *node) healthy() string {
	link := linkName("uid")
	var out strings.Builder
	for _, command := range [][]string{
		{"ip", "route", "show", "proto", "98"}, {"ip", "-o", "-4", "addr", "show"}, {"ip", "neigh", "show", "nud", "permanent"},
		{"cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/" + link + "/rp_filter", "/proc/sys/net/ipv4/conf/" + link + "/forwarding"},
	} {
		text, _ := n.Try(command[0], command[1:]...)
		out.WriteString(sorted(text))
	}
	entries, _ := n.Try("bridge", "fdb", "show", "dev", vxlanName)
	for line := range strings.Lines(sorted(entries)) {
		if strings.Contains(line, "0a:6d:") {
			out.WriteString(line)
		}
	}
	return indexes.ReplaceAllString(carrier.ReplaceAllString(out.String(), ""), "")
}

// sorted is a list of the kernel's by its lines: it lists neighbours in the order of a hash, whose seed changes as it grows.
func sorted(list string) string { return strings.Join(slices.Sorted(strings.Lines(list)), "") }

// What others do to a node's network comes right by itself, and soon.
func TestMending(t *testing.T) {
	sw, near, router := nettest.New(t, "switch"), nettest.New(t, "near"), nettest.New(t, "router")
	ns, pod := nettest.New(t, "node"), nettest.New(t, "pod")
	nettest.Bridge(sw, []*nettest.NS{ns, near, router}, []string{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.254/24"})
	ns.Route("0.0.0.0/0", "10.0.0.254")
	n := newNode(t, ns, "10.0.0.1", "100.64.0.0/22")
	addr := n.attach("uid", pod)
	pod.Serve("pod", ":80")
	n.setPeers(peer("near", "10.0.0.2", "100.64.4.0/22"), peer("far", "10.9.0.3", "100.64.8.0/22"))
	changes := n.changes()
	n.run()
	run := func(words ...string) func() { return func() { n.NS.Run(words[0], words[1:]...) } }
	link := linkName("uid")
	for _, harm := range []struct {
		name string
		do   func()
	}{
		{"a restart of systemd-networkd", run("ip", "route", "flush", "proto", "98")},
		{"a route by hand", run("ip", "route", "del", "100.64.4.0/22")},
		{"the MiniPod's route", run("ip", "route", "del", addr.String())},
		{"the MiniPod's link set down", run("ip", "link", "set", link, "down")},
		{"a flap of the node's link", func() {
			n.NS.Run("ip", "link", "set", "eth0", "down")
			n.NS.Run("ip", "link", "set", "eth0", "up")
			n.NS.Run("ip", "route", "replace", "default", "via", "10.0.0.254") // as whoever keeps it does
		}},
		{"the VXLAN device", run("ip", "link", "del", vxlanName)},
		{"the VXLAN device set down", run("ip", "link", "set", vxlanName, "down")},
		{"no router any more", run("sysctl", "-qw", "net.ipv4.ip_forward=0")},
		{"loose sources", run("sysctl", "-qw", "net.ipv4.conf."+link+".rp_filter=2")},
	} {
		t.Run(harm.name, func(t *testing.T) {
			restored := func() float64 { return testenv.Counted(t, "miniplane_agent_network_restored_total") }
			before := restored()
			n.wantBack(changes, n.healthy, harm.do)
			mustAsk(t, n.NS, "tcp", addr.String()+":80")
			if restored() == before {
				t.Error("it was made again, and not counted")
			}
		})
	}
}

// A MiniPod's link speaks no IPv6, also when somebody has switched it off and on for all links: else the MiniPod could send the node router
// advertisements. The kernel tells nobody of that; the look of each minute finds it.
func TestLinksStayWithoutIPv6(t *testing.T) {
	n, pod := alone(t), nettest.New(t, "pod")
	n.attach("uid", pod)
	parameter := "net.ipv6.conf." + linkName("uid") + ".disable_ipv6"
	if _, err := n.Try("sysctl", "-n", parameter); err != nil {
		t.Skip("SKIPPED: no IPv6 here: ", err)
	}
	n.NS.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	n.NS.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
	if got, _ := n.Try("sysctl", "-n", parameter); strings.TrimSpace(got) != "0" {
		t.Fatalf("this kernel leaves links alone: %q", got)
	}
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	n.Do(func() {
		if err := n.mend(); err != nil {
			t.Error(err)
		}
	})
	if got, _ := n.Try("sysctl", "-n", parameter); strings.TrimSpace(got) != "1" {
		t.Errorf("disable_ipv6 of the link is %q", got)
	}
}

// Nothing that the agent itself does is mistaken for harm: a detached MiniPod's route stays away, and nothing is counted.
func TestNothingToMend(t *testing.T) {
	n := alone(t)
	n.setPeers()
	pods := []*nettest.NS{nettest.New(t, "a"), nettest.New(t, "b")}
	n.run()
	for range 5 {
		for i, uid := range []string{"a", "b"} {
			n.attach(uid, pods[i])
		}
		for _, uid := range []string{"a", "b"} {
			n.detach(uid)
		}
		n.Do(func() {
			n.peersMu.Lock()
			defer n.peersMu.Unlock()
			check(t, n.mend())
		})
		same(t, "routes", "100.96.0.0/16 dev lo scope link src 10.0.0.1 mtu 1450", strings.TrimSpace(n.NS.Run("ip", "route", "show", "proto", "98")))
	}
}

// TestAttachedMeanwhile: what is attached and detached while all is looked at was removed by nobody, and is not counted.
func TestAttachedMeanwhile(t *testing.T) {
	const pods, times = 8, 10
	n := alone(t)
	n.setPeers()
	counted := func() float64 { return testenv.Counted(t, "miniplane_agent_network_restored_total") }
	before := counted()
	var working, looking sync.WaitGroup
	done := make(chan struct{})
	looking.Go(func() {
		n.Do(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				n.peersMu.Lock()
				err := n.mend()
				n.peersMu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	})
	for i := range pods {
		pod := nettest.New(t, "pod")
		working.Go(func() {
			for range times {
				n.attach(fmt.Sprint("uid-", i), pod)
				n.detach(fmt.Sprint("uid-", i))
			}
		})
	}
	working.Wait()
	close(done)
	looking.Wait()
	same(t, "counted", before, counted())
}

// One peer more costs as many messages to the kernel as one peer, however many there are.
func TestPeersCostWhatChanges(t *testing.T) {
	ns, router := nettest.New(t, "node"), nettest.New(t, "router")
	nettest.Link(ns, "10.0.0.1/24", router, "10.0.0.254/24")
	ns.Route("0.0.0.0/0", "10.0.0.254")
	n := newNode(t, ns, "10.0.0.1", "100.64.0.0/22")
	var peers []Peer
	for i := 1; i <= 300; i++ {
		peers = append(peers, Peer{Name: string(rune('a' + i)), NodeIP: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}),
			PodCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + i>>6), byte(i << 2), 0}), 22)})
	}
	n.setPeers(peers[:299]...)
	count := 0
	stop := n.count(&count)
	n.setPeers(peers...)     // one more
	n.setPeers(peers[1:]...) // one less
	n.setPeers(peers[1:]...) // the same
	stop()
	if count > 12 {
		t.Errorf("the kernel told of %d changes", count)
	}
	routes, err := func() (r []netlink.Route, err error) { n.Do(func() { r, err = ownRoutes(n.handle) }); return }()
	check(t, err)
	same(t, "routes", 300, len(routes)) // and that of virtual IPs
}

// count counts the kernel's messages about routes and neighbours until stop, which waits for the last.
func (n *node) count(into *int) (stop func()) {
	n.t.Helper()
	var socket *nl.NetlinkSocket
	var err error
	n.Do(func() { socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NEIGH) })
	check(n.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			messages, _, err := socket.Receive()
			if err != nil {
				return
			}
			for _, m := range messages {
				if m.Header.Type == unix.RTM_NEWROUTE && strings.Contains(string(m.Data), string([]byte{203, 0, 113, 0})) {
					return
				}
				*into++
			}
		}
	}()
	return func() {
		n.NS.Run("ip", "route", "add", "203.0.113.0/24", "dev", "lo")
		<-done
		socket.Close()
	}
}
