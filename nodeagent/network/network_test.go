package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/conntrack"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

// node is a Network in a namespace of its own.
type node struct {
	*nettest.NS
	t    testing.TB
	opts Options
	*Node
}

func newNode(t testing.TB, ns *nettest.NS, nodeIP, podCIDR string) *node {
	t.Helper()
	n := &node{NS: ns, t: t, opts: Options{
		NodeIP: netip.MustParseAddr(nodeIP), PodCIDR: netip.MustParsePrefix(podCIDR),
		ClusterPodCIDR: netip.MustParsePrefix("100.64.0.0/11"), ServiceCIDR: netip.MustParsePrefix("100.96.0.0/16"),
		MTU: 1450,
	}}
	var err error
	n.opts.StateDir, err = os.MkdirTemp("/dev/shm", "network") // in memory, as /run is
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(n.opts.StateDir) })
	n.restart()
	t.Cleanup(func() { n.Close() })
	return n
}

// alone is a node without other nodes.
func alone(t testing.TB) *node {
	t.Helper()
	ns := nettest.New(t, "node")
	ns.Do(func() { _ = os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0o644) })
	ns.Run("ip", "addr", "add", "10.0.0.1/32", "dev", "lo")
	return newNode(t, ns, "10.0.0.1", "100.64.0.0/22")
}

// restart is what happens when the agent is killed and started again.
func (n *node) restart() {
	n.t.Helper()
	if n.Node != nil {
		n.Close()
	}
	var err error
	n.Do(func() { n.Node, err = New(n.opts) })
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) attach(uid string, pod *nettest.NS) netip.Addr {
	n.t.Helper()
	var addr netip.Addr
	var err error
	n.Do(func() { addr, err = n.Attach(n.t.Context(), uid, pod.Path()) })
	if err != nil {
		n.t.Fatal(err)
	}
	return addr
}

func (n *node) detach(uid string) {
	n.t.Helper()
	var err error
	n.Do(func() { err = n.Detach(n.t.Context(), uid) })
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) setPeers(peers ...Peer) {
	n.t.Helper()
	var err error
	n.Do(func() { err = n.SetPeers(n.t.Context(), peers) })
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) list() map[string]netip.Addr {
	n.t.Helper()
	got, err := n.List(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return got
}

// carrier is what the kernel updates when it finds the time, also whether it has found an address of IPv6 to be nobody else's.
var carrier = regexp.MustCompile(`<[A-Z,_-]*>|state [A-Z]+| linkdown|tentative `)

// indexes are numbers of links, which are others when a link is made anew.
var indexes = regexp.MustCompile(`(?m)^[0-9]+: `)

// state is all of the namespace that Cleanup must bring back.
func (n *node) state() string {
	all := n.NS.Run("ip", "-o", "link") + n.NS.Run("ip", "route", "show", "table", "all") + n.NS.Run("ip", "neigh") + n.NS.Run("ip", "-o", "addr")
	return carrier.ReplaceAllString(all, "")
}

func mustAsk(t *testing.T, from *nettest.NS, network, addr string) (server, client string) {
	t.Helper()
	server, client, err := from.Ask(network, addr)
	if err != nil {
		t.Fatalf("%s to %s: %v", network, addr, err)
	}
	return server, client
}

func same(t testing.TB, what string, want, got any, opts ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, append(opts, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestMiniPodsReachTheNodeAndEachOther(t *testing.T) {
	n := alone(t)
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	addrA, addrB := n.attach("uid-a", a), n.attach("uid-b", b)
	same(t, "addresses in order", []string{"100.64.0.2", "100.64.0.3"}, []string{addrA.String(), addrB.String()})
	b.Serve("b", ":80")
	n.Serve("node", "10.0.0.1:81")

	for _, network := range []string{"tcp", "udp"} {
		_, client := mustAsk(t, a, network, addrB.String()+":80")
		same(t, network+": b sees a itself", addrA.String(), client)
		_, client = mustAsk(t, a, network, "10.0.0.1:81")
		same(t, network+": the node sees a itself", addrA.String(), client)
		_, client = mustAsk(t, n.NS, network, addrB.String()+":80")
		same(t, network+": b sees the node", "10.0.0.1", client)
	}
	if _, _, err := a.Ask("tcp", "127.0.0.1:1"); !nettest.Refused(err) {
		t.Errorf("lo of a MiniPod should be up and nobody listen: %v", err)
	}
}

func TestMiniPodCannotSendInAnothersName(t *testing.T) {
	n := alone(t)
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	n.attach("uid-a", a)
	addrB := n.attach("uid-b", b)
	b.Serve("b", ":80")
	a.Run("ip", "addr", "replace", "100.64.3.3/32", "dev", "eth0")
	a.Run("ip", "route", "replace", "default", "via", "169.254.1.1", "src", "100.64.3.3")
	if _, client, err := a.Ask("udp", addrB.String()+":80"); err == nil {
		t.Errorf("a packet from a false address arrived, as from %s", client)
	}
}

func TestAttachAndDetachAreIdempotent(t *testing.T) {
	n := alone(t)
	a := nettest.New(t, "a")
	addr := n.attach("uid-a", a)
	before := n.state()
	same(t, "the same address again", addr, n.attach("uid-a", a))
	same(t, "and nothing else", before, n.state())
	n.detach("uid-a")
	n.detach("uid-a")
	same(t, "nobody", map[string]netip.Addr{}, n.list())
	if again := n.attach("uid-b", a); again == addr {
		t.Errorf("the address %s should rest after its use", addr)
	}
}

func TestNewSandboxOfTheSameMiniPodKeepsTheAddress(t *testing.T) {
	n := alone(t)
	first, second := nettest.New(t, "first"), nettest.New(t, "second")
	addr := n.attach("uid-a", first)
	same(t, "address", addr, n.attach("uid-a", second))
	second.Serve("second", ":80")
	server, _ := mustAsk(t, n.NS, "tcp", addr.String()+":80")
	same(t, "who answers", "second", server)
}

func TestRangeRunsOut(t *testing.T) {
	ns := nettest.New(t, "node")
	ns.Run("ip", "addr", "add", "10.0.0.1/32", "dev", "lo")
	n := newNode(t, ns, "10.0.0.1", "100.64.0.0/30") // the node's own address and one more
	n.attach("uid-a", nettest.New(t, "a"))
	n.Do(func() {
		if _, err := n.Attach(t.Context(), "uid-b", nettest.New(t, "b").Path()); !errors.Is(err, ErrExhausted) {
			t.Errorf("want ErrExhausted, got %v", err)
		}
	})
	n.detach("uid-a")
	n.attach("uid-b", nettest.New(t, "b"))
}

// A crash leaves what the steps before it did. Whatever is left, Attach completes it with the same address, and Detach
// takes all of it away.
func TestCrashAnywhere(t *testing.T) {
	crashes := []struct {
		name  string
		crash func(n *node, pod *nettest.NS, link string)
	}{
		{"before the link", func(n *node, _ *nettest.NS, link string) { n.NS.Run("ip", "link", "del", link) }},
		{"before the inner address", func(_ *node, pod *nettest.NS, _ string) { pod.Run("ip", "addr", "flush", "dev", "eth0") }},
		{"before the inner end is up", func(_ *node, pod *nettest.NS, _ string) { pod.Run("ip", "link", "set", "eth0", "down") }},
		{"before the default route", func(_ *node, pod *nettest.NS, _ string) { pod.Run("ip", "route", "del", "default") }},
		{"before the outer end is up", func(n *node, _ *nettest.NS, link string) { n.NS.Run("ip", "link", "set", link, "down") }},
		{"before the route", func(n *node, _ *nettest.NS, _ string) { n.NS.Run("ip", "route", "del", "100.64.0.2/32") }},
		{"with the record lost", func(n *node, _ *nettest.NS, _ string) { check(n.t, os.Remove(n.record("uid-a"))) }},
		{"with all of the state lost", func(n *node, _ *nettest.NS, _ string) { check(n.t, os.RemoveAll(n.opts.StateDir)) }},
		{"in the middle of the record", func(n *node, _ *nettest.NS, _ string) {
			check(n.t, os.Rename(n.record("uid-a"), n.record("uid-a.tmp")))
		}},
		{"after the link was doomed", func(n *node, _ *nettest.NS, link string) {
			n.NS.Run("ip", "link", "set", link, "group", fmt.Sprint(doomed))
		}},
		{"in no way", func(*node, *nettest.NS, string) {}},
	}
	for _, test := range crashes {
		t.Run(test.name, func(t *testing.T) {
			n, pod := alone(t), nettest.New(t, "pod")
			before := n.state()
			addr := n.attach("uid-a", pod)
			test.crash(n, pod, linkName("uid-a"))
			n.restart()
			other := n.attach("uid-b", nettest.New(t, "other"))
			if other == addr {
				t.Fatalf("%s was given twice", addr)
			}
			same(t, "address", addr, n.attach("uid-a", pod))
			pod.Serve("pod", ":80")
			server, _ := mustAsk(t, n.NS, "tcp", addr.String()+":80")
			same(t, "who answers", "pod", server)

			test.crash(n, pod, linkName("uid-a"))
			n.restart()
			n.detach("uid-a")
			n.detach("uid-b")
			same(t, "nobody", map[string]netip.Addr{}, n.list())
			same(t, "what is left", before, n.state())
			same(t, "addresses free", 1022-1, n.pool.Free())
		})
	}
}

func (n *node) record(uid string) string { return filepath.Join(n.opts.StateDir, "network", uid) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDetachForgetsUDPFlows(t *testing.T) {
	n := alone(t)
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	n.attach("uid-a", a)
	addrB := n.attach("uid-b", b)
	b.Serve("b", ":80")
	n.NS.Run("iptables", "-t", "nat", "-A", "PREROUTING", "-d", "100.96.0.9", "-p", "udp", "-j", "DNAT", "--to-destination", addrB.String()+":80")
	mustAsk(t, a, "udp", "100.96.0.9:53")
	count := func() (flows int) {
		check(t, n.flows.DeleteUDP(t.Context(), func(f conntrack.Flow) bool {
			if f.ReplySrc.Addr() == addrB {
				flows++
			}
			return false
		}))
		return flows
	}
	same(t, "flows to b before", 1, count())
	n.detach("uid-b")
	same(t, "flows to b after", 0, count())
}

func TestCleanupLeavesNothing(t *testing.T) {
	ns, peer := nettest.New(t, "node"), nettest.New(t, "peer")
	nettest.Link(ns, "10.0.0.1/24", peer, "10.0.0.2/24")
	ns.Route("0.0.0.0/0", "10.0.0.2")
	ns.Run("ip", "link", "add", "minister", "type", "veth", "peer", "name", "mini0123456789a") // not ours
	read := &node{NS: ns}
	before := read.state()
	n := newNode(t, ns, "10.0.0.1", "100.64.0.0/22")
	for i := range 5 {
		n.attach(fmt.Sprint("uid-", i), nettest.New(t, "pod"))
	}
	n.setPeers(
		Peer{Name: "near", NodeIP: netip.MustParseAddr("10.0.0.2"), PodCIDR: netip.MustParsePrefix("100.64.4.0/22")},
		Peer{Name: "far", NodeIP: netip.MustParseAddr("10.9.0.2"), PodCIDR: netip.MustParsePrefix("100.64.8.0/22")})
	n.Do(func() { check(t, n.Cleanup(t.Context())) })
	same(t, "what is left", before, n.state())
	if _, err := os.Stat(filepath.Join(n.opts.StateDir, "network")); !os.IsNotExist(err) {
		t.Errorf("the records are still there: %v", err)
	}
	n.attach("uid-again", nettest.New(t, "pod")) // it can be used on
}

func TestOptionsAreValidated(t *testing.T) {
	good := Options{
		NodeIP: netip.MustParseAddr("10.0.0.1"), PodCIDR: netip.MustParsePrefix("100.64.0.0/22"),
		ClusterPodCIDR: netip.MustParsePrefix("100.64.0.0/11"), StateDir: "/x",
	}
	for name, change := range map[string]func(*Options){
		"node IP":       func(o *Options) { o.NodeIP = netip.Addr{} },
		"pod range":     func(o *Options) { o.PodCIDR = netip.MustParsePrefix("fd00::/64") },
		"tiny range":    func(o *Options) { o.PodCIDR = netip.MustParsePrefix("100.64.0.0/31") },
		"cluster range": func(o *Options) { o.ClusterPodCIDR = netip.MustParsePrefix("10.0.0.0/8") },
		"state":         func(o *Options) { o.StateDir = "" },
	} {
		opts := good
		change(&opts)
		if _, err := New(opts); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	check(t, good.validate())
	same(t, "defaults", []int{DefaultVXLANID, DefaultVXLANPort}, []int{good.VXLANID, good.VXLANPort})
}

func TestUIDsThatAreNoFileNames(t *testing.T) {
	for _, uid := range []string{"", ".", "..", "a/b", ".hidden", "x.tmp"} {
		if _, err := (records{t.TempDir()}).path(uid); err == nil {
			t.Errorf("%q: want an error", uid)
		}
	}
}
