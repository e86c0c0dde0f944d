package network

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/nettest"
)

func peer(name, ip, cidr string) Peer {
	p := Peer{Name: name}
	p.NodeIP, _ = netip.ParseAddr(ip)
	p.PodCIDR, _ = netip.ParsePrefix(cidr)
	return p
}

func TestPlanWays(t *testing.T) {
	opts := Options{
		NodeIP: netip.MustParseAddr("10.0.0.1"), PodCIDR: netip.MustParsePrefix("100.64.0.0/22"),
		ClusterPodCIDR: netip.MustParsePrefix("100.64.0.0/11"),
	}
	near := func(a netip.Addr) bool { return netip.MustParsePrefix("10.0.0.0/24").Contains(a) }
	const dst = "100.64.4.0/22"
	plain := func(name, node string) way {
		return way{name: name, node: netip.MustParseAddr(node), dst: netip.MustParsePrefix(dst), gateway: netip.MustParseAddr(node), near: true}
	}
	tunnel := func(name, node string, near bool) way {
		return way{name: name, node: netip.MustParseAddr(node), dst: netip.MustParsePrefix(dst), gateway: netip.MustParseAddr("100.64.4.1"),
			vtep: netip.MustParseAddr(node), near: near}
	}
	tests := []struct {
		name   string
		encap  Encapsulation
		peers  []Peer
		want   []way
		refuse string // part of what is said
	}{
		{"none", EncapsulateAuto, nil, nil, ""},
		{"on the link", EncapsulateAuto, []Peer{peer("a", "10.0.0.2", "100.64.4.7/22")}, []way{plain("a", "10.0.0.2")}, ""},
		{"elsewhere", EncapsulateAuto, []Peer{peer("a", "10.0.1.2", dst)}, []way{tunnel("a", "10.0.1.2", false)}, ""},
		{"always", EncapsulateAlways, []Peer{peer("a", "10.0.0.2", dst)}, []way{tunnel("a", "10.0.0.2", true)}, ""},
		{"never, on the link", EncapsulateNever, []Peer{peer("a", "10.0.0.2", dst)}, []way{plain("a", "10.0.0.2")}, ""},
		{"never, elsewhere", EncapsulateNever, []Peer{peer("a", "10.0.1.2", dst)},
			[]way{{name: "a", node: netip.MustParseAddr("10.0.1.2"), dst: netip.MustParsePrefix(dst), near: true}}, ""},
		{"itself", EncapsulateAuto, []Peer{peer("a", "10.0.0.1", dst)}, nil, ""},
		{"this node's range", EncapsulateAuto, []Peer{peer("b", "10.0.0.2", "100.64.0.0/22")}, nil, "is that of this node"},
		{"not known yet", EncapsulateAuto, []Peer{peer("a", "", dst), peer("b", "10.0.0.2", "")}, nil, ""},
		{"another cluster's", EncapsulateAuto, []Peer{peer("c", "10.0.0.3", "192.168.0.0/22")}, nil, "range 192.168.0.0/22 of node c: not in the cluster's range"},
		{"a stolen address", EncapsulateAuto, []Peer{since(9, peer("a", "10.0.0.3", "100.64.4.7/32")), peer("b", "10.0.0.2", dst)}, []way{plain("b", "10.0.0.2")},
			"range 100.64.4.7/32 of node a: a node has a /30 at least"},
		{"stolen addresses", EncapsulateAuto, []Peer{since(9, peer("a", "10.0.0.3", "100.64.6.0/24")), since(8, peer("b", "10.0.0.2", dst))},
			[]way{plain("b", "10.0.0.2")}, "range 100.64.6.0/24 of node a: overlaps 100.64.4.0/22, which is that of b"},
		{"all addresses", EncapsulateAuto, []Peer{peer("a", "10.0.0.3", "100.64.0.0/11"), peer("b", "10.0.0.2", dst)}, []way{plain("b", "10.0.0.2")},
			"overlaps 100.64.0.0/22, which is that of this node"},
		{"all others' addresses", EncapsulateAuto, []Peer{since(9, peer("a", "10.0.0.3", "100.64.4.0/20")), peer("b", "10.0.0.2", dst)},
			[]way{plain("b", "10.0.0.2")}, "of node a: overlaps"},
		{"more than the cluster's", EncapsulateAuto, []Peer{peer("a", "10.0.0.3", "0.0.0.0/0")}, nil, "of node a"},
		{"more than the cluster's, around it", EncapsulateAuto, []Peer{peer("a", "10.0.0.3", "100.64.0.0/10")}, nil, "not in the cluster's range"},
		{"one range twice", EncapsulateAuto, []Peer{peer("b", "10.0.0.9", dst), peer("a", "10.0.0.2", dst)}, []way{plain("a", "10.0.0.2")},
			"of node b: overlaps 100.64.4.0/22, which is that of a"},
		{"one range twice, the older has it", EncapsulateAuto, []Peer{since(9, peer("a", "10.0.0.9", dst)), since(8, peer("b", "10.0.0.2", dst))},
			[]way{plain("b", "10.0.0.2")}, "of node a: overlaps"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := opts
			opts.Encapsulation = test.encap
			ways, refused := planWays(opts, test.peers, near, nil)
			same(t, "ways", test.want, ways, cmp.AllowUnexported(way{}))
			if said := strings.Join(refused, "\n"); (test.refuse == "") != (said == "") || !strings.Contains(said, test.refuse) {
				t.Errorf("refused %q, want %q", said, test.refuse)
			}
		})
	}
	holders := map[netip.Prefix]string{netip.MustParsePrefix(dst): "b"}
	ways, _ := planWays(opts, []Peer{peer("a", "10.0.0.9", dst), peer("b", "10.0.0.2", dst)}, near, holders)
	same(t, "who has it keeps it", []way{plain("b", "10.0.0.2")}, ways, cmp.AllowUnexported(way{}))
}

func since(minute int, p Peer) Peer {
	p.Created = time.Unix(0, 0).Add(time.Duration(minute) * time.Minute)
	return p
}

// When the size of ranges is changed, the nodes that are there keep theirs.
func TestPlanWaysOfManySizes(t *testing.T) {
	opts := Options{
		NodeIP: netip.MustParseAddr("10.0.0.1"), PodCIDR: netip.MustParsePrefix("100.64.0.0/22"),
		ClusterPodCIDR: netip.MustParsePrefix("100.64.0.0/11"), Encapsulation: EncapsulateAlways,
	}
	ranges := []string{"100.64.4.0/24", "100.64.5.0/24", "100.64.6.0/23", "100.64.8.0/22", "100.64.16.0/20", "100.95.0.0/16", "100.64.32.0/30"}
	var peers []Peer
	for i, cidr := range ranges {
		peers = append(peers, peer(fmt.Sprint("n", i), fmt.Sprintf("10.0.1.%d", i+1), cidr))
	}
	for range 20 {
		rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
		ways, refused := planWays(opts, peers, func(netip.Addr) bool { return true }, nil)
		var got []string
		for _, w := range ways {
			got = append(got, w.dst.String())
		}
		same(t, "ranges", ranges, got)
		same(t, "refused", []string(nil), refused)
	}
}

// Whatever is claimed, no two ways overlap, and what overlaps nothing has its way.
func TestWaysNeverOverlap(t *testing.T) {
	opts := Options{
		NodeIP: netip.MustParseAddr("10.0.0.1"), PodCIDR: netip.MustParsePrefix("100.64.0.0/22"),
		ClusterPodCIDR: netip.MustParsePrefix("100.64.0.0/16"),
	}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var peers []Peer
		for i := range 40 {
			addr := netip.AddrFrom4([4]byte{100, 64, byte(random.IntN(256)), byte(random.IntN(256))})
			peers = append(peers, since(random.IntN(3), peer(fmt.Sprint("n", i), fmt.Sprintf("10.0.1.%d", i+1), netip.PrefixFrom(addr, 18+random.IntN(13)).String())))
		}
		ways, refused := planWays(opts, peers, func(netip.Addr) bool { return true }, nil)
		if len(ways)+len(refused) != len(peers) {
			t.Fatalf("seed %d: %d ways and %d refused of %d", seed, len(ways), len(refused), len(peers))
		}
		for i, w := range ways {
			for _, other := range ways[:i] {
				if w.dst.Overlaps(other.dst) || w.dst.Overlaps(opts.PodCIDR) {
					t.Fatalf("seed %d: %s of %s overlaps %s of %s", seed, w.dst, w.name, other.dst, other.name)
				}
			}
		}
		for _, p := range peers {
			alone := !slices.ContainsFunc(peers, func(o Peer) bool { return o.Name != p.Name && o.PodCIDR.Overlaps(p.PodCIDR) })
			has := slices.ContainsFunc(ways, func(w way) bool { return w.name == p.Name })
			if alone && !has && !p.PodCIDR.Overlaps(opts.PodCIDR) {
				t.Fatalf("seed %d: %s of %s overlaps nothing and is refused: %v", seed, p.PodCIDR, p.Name, refused)
			}
		}
	}
}

// Three nodes: two on one Ethernet, the third behind a router, and with a range of another size. Each has a MiniPod.
func TestMiniPodsOfThreeNodes(t *testing.T) {
	sw, router := nettest.New(t, "switch"), nettest.New(t, "router")
	names := []string{"n0", "n1", "n2"}
	var ns, pods []*nettest.NS
	for _, name := range names {
		ns, pods = append(ns, nettest.New(t, name)), append(pods, nettest.New(t, "pod-"+name))
	}
	nettest.Bridge(sw, []*nettest.NS{ns[0], ns[1], router}, []string{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.254/24"})
	nettest.Link(router, "10.0.1.254/24", ns[2], "10.0.1.3/24")
	router.Forward()
	ns[0].Route("10.0.1.0/24", "10.0.0.254")
	ns[1].Route("10.0.1.0/24", "10.0.0.254")
	ns[2].Route("10.0.0.0/24", "10.0.1.254")
	peers := []Peer{peer("n0", "10.0.0.1", "100.64.0.0/22"), peer("n1", "10.0.0.2", "100.64.4.0/22"), peer("n2", "10.0.1.3", "100.64.8.0/24")}
	var nodes []*node
	var addrs []netip.Addr
	for i := range peers {
		n := newNode(t, ns[i], peers[i].NodeIP.String(), peers[i].PodCIDR.String())
		nodes, addrs = append(nodes, n), append(addrs, n.attach("uid", pods[i]))
		pods[i].Serve(names[i], ":80")
		n.setPeers(peers...)
	}

	for i := range nodes {
		for j := range nodes {
			for _, network := range []string{"tcp", "udp"} {
				server, client := mustAsk(t, pods[i], network, addrs[j].String()+":80")
				same(t, "who answers", names[j], server)
				same(t, "whom it sees", addrs[i].String(), client)
				server, _ = mustAsk(t, ns[i], network, addrs[j].String()+":80") // from the node itself
				same(t, "who answers the node", names[j], server)
			}
		}
	}
	routes := nodes[0].NS.Run("ip", "route")
	for _, want := range []string{"100.64.4.0/22 via 10.0.0.2", "100.64.8.0/24 via 100.64.8.1 dev mini.vxlan"} {
		if !strings.Contains(routes, want) {
			t.Errorf("want route %q in\n%s", want, routes)
		}
	}
	before := nodes[0].state()
	nodes[0].setPeers(peers...)
	same(t, "the same peers again", before, nodes[0].state())

	nodes[0].setPeers(peers[1])
	left := nodes[0].NS.Run("ip", "route") + nodes[0].NS.Run("ip", "neigh") + nodes[0].NS.Run("bridge", "fdb", "show", "dev", vxlanName)
	if strings.Contains(left, "100.64.8.") || strings.Contains(left, "10.0.1.3") {
		t.Errorf("the far peer is still there:\n%s", left)
	}
	nodes[1].setPeers()
	if left := nodes[1].state(); strings.Contains(left, vxlanName) {
		t.Errorf("there is no peer, and the device is there:\n%s", left)
	}
	nodes[1].setPeers(peers...)
	nodes[0].setPeers(peers...)
	mustAsk(t, pods[0], "tcp", addrs[2].String()+":80")
}

func TestStaleNeighboursAndAnotherVXLAN(t *testing.T) {
	ns, router := nettest.New(t, "node"), nettest.New(t, "router")
	nettest.Link(ns, "10.0.0.1/24", router, "10.0.0.254/24")
	ns.Route("0.0.0.0/0", "10.0.0.254")
	n := newNode(t, ns, "10.0.0.1", "100.64.0.0/22")
	n.setPeers(peer("a", "10.9.0.1", "100.64.4.0/22"), peer("b", "10.9.0.2", "100.64.8.0/22"))
	n.setPeers(peer("a", "10.9.0.1", "100.64.4.0/22"))
	entries := n.NS.Run("ip", "neigh") + n.NS.Run("bridge", "fdb", "show", "dev", vxlanName)
	if strings.Contains(entries, "10.9.0.2") || strings.Contains(entries, "100.64.8.1") || !strings.Contains(entries, "10.9.0.1") {
		t.Errorf("neighbours should be those of peer a:\n%s", entries)
	}
	n.opts.VXLANID = 77
	n.restart()
	n.setPeers(peer("a", "10.9.0.1", "100.64.4.0/22"))
	if link := n.NS.Run("ip", "-d", "link", "show", vxlanName); !strings.Contains(link, "vxlan id 77 ") {
		t.Errorf("the device should have been made anew:\n%s", link)
	}
}
