package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/iptables/fake"
)

var testConfig = Config{
	NodePodCIDR: netip.MustParsePrefix("100.64.0.0/22"), ClusterPodCIDR: netip.MustParsePrefix("100.64.0.0/11"),
	ServiceCIDR: netip.MustParsePrefix("100.96.0.0/16"), VXLANPort: 8473,
}

func ip(text string) netip.Addr        { return netip.MustParseAddr(text) }
func at(text string) netip.AddrPort    { return netip.MustParseAddrPort(text) }
func tcp(p uint16, to ...string) Port  { return Port{Protocol: TCP, Port: p, Backends: ats(to)} }
func udp(p uint16, to ...string) Port  { return Port{Protocol: UDP, Port: p, Backends: ats(to)} }
func (p Port) on(nodePort uint16) Port { p.NodePort = nodePort; return p }
func (p Port) named(name string) Port  { p.Name = name; return p }
func (s Service) sticky(d int) Service { s.Affinity = time.Duration(d) * time.Second; return s }
func svc(name, vip string, ports ...Port) Service {
	return Service{Name: "ns/" + name, VIP: ip(vip), Ports: ports}
}

func ats(texts []string) (out []netip.AddrPort) {
	for _, text := range texts {
		out = append(out, at(text))
	}
	return out
}

// world is a node: rules, applied to fake tables through real differences, and a kernel that walks packets.
type world struct {
	t      testing.TB
	rules  *ruleset
	tables *fake.Tables
	kernel *fake.Kernel
}

func newWorld(t testing.TB, services ...Service) *world {
	t.Helper()
	tables := &fake.Tables{}
	w := &world{t: t, rules: newRuleset(testConfig), tables: tables, kernel: &fake.Kernel{
		Tables: tables, Local: []netip.Addr{ip("10.0.0.1"), ip("127.0.0.1")}, Random: rand.New(rand.NewPCG(1, 2)), Link: links,
	}}
	w.setPeers(testPeers)
	w.apply()
	if err := errors.Join(tables.EnsureFirst(context.Background(), jumps), tables.EnsureLast(context.Background(), lastJumps)); err != nil {
		t.Fatal(err)
	}
	w.set(services...)
	return w
}

func (w *world) set(services ...Service) {
	w.t.Helper()
	for _, s := range services {
		w.rules.set("service/"+s.Name, w.rules.service(s))
	}
	w.apply()
}

// testPeers are one on the same link and one elsewhere.
var testPeers = []Peer{
	{NodeIP: ip("10.0.0.2"), PodCIDR: netip.MustParsePrefix("100.64.4.0/22"), Near: true},
	{NodeIP: ip("10.9.0.3"), PodCIDR: netip.MustParsePrefix("100.64.8.0/22")},
}

// links are those of the node with these peers, and with a bridge of native Pods.
func links(addr netip.Addr) string {
	switch {
	case testConfig.NodePodCIDR.Contains(addr):
		return "mini" + strings.ReplaceAll(addr.String(), ".", "x")
	case testPeers[1].PodCIDR.Contains(addr):
		return vxlanLink
	case netip.MustParsePrefix("10.244.0.0/24").Contains(addr):
		return "cni0"
	}
	return "eth0"
}

func (w *world) setPeers(peers []Peer) {
	w.t.Helper()
	for _, peer := range peers {
		w.rules.set("peer/"+peer.NodeIP.String(), w.rules.peer(peer))
	}
	w.apply()
}

func (w *world) hostPorts(uid string, ports ...HostPort) {
	w.t.Helper()
	w.rules.set(hostPortOwner(uid), w.rules.hostPorts(ports))
	w.apply()
}

// apply returns how many chains were written and removed.
func (w *world) apply() (written, removed int) {
	w.t.Helper()
	c := w.rules.changes()
	for _, input := range c.inputs(w.tables.BatchSize()) {
		if err := w.tables.Restore(context.Background(), input); err != nil {
			w.t.Fatalf("%v in\n%s", err, input)
		}
	}
	w.rules.commit(c)
	return len(c.set), len(c.removed)
}

func (w *world) send(protocol, src, dst string) fake.Verdict {
	w.t.Helper()
	return w.kernel.Send(fake.Packet{Protocol: protocol, Src: ip(src), Dst: at(dst)})
}

func (w *world) sendFromHost(protocol, dst string) fake.Verdict {
	w.t.Helper()
	return w.kernel.Send(fake.Packet{Protocol: protocol, Src: ip("10.0.0.1"), Dst: at(dst), FromHost: true})
}

// spread sends a packet many times and counts where it went.
func (w *world) spread(protocol, src, dst string) map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for range 1000 {
		out[w.send(protocol, src, dst).Dst.String()]++
	}
	return out
}

func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// words tells a verdict in a few words.
func words(v fake.Verdict) string {
	switch {
	case v.Refused:
		return "refused"
	case v.Dropped:
		return "dropped"
	case v.Masqueraded:
		return fmt.Sprintf("%s masqueraded", v.Dst)
	}
	return v.Dst.String()
}

// many makes services with two backends each, every third with a node port, at scattered addresses.
func many(n int) (out []Service) {
	random := rand.New(rand.NewPCG(3, 4))
	used := map[uint16]bool{}
	for i := range n {
		low := uint16(random.Uint32())
		for used[low] {
			low++
		}
		used[low] = true
		p := tcp(80, fmt.Sprintf("100.64.%d.%d:80", i/200%4, i%200+2), fmt.Sprintf("100.64.%d.%d:80", 4+i/200%4, i%200+2))
		if i%3 == 0 && i/3 < 2768 {
			p = p.on(uint16(30000 + i/3))
		}
		out = append(out, svc(fmt.Sprint("s", i), fmt.Sprintf("100.96.%d.%d", low>>8, low&255), p))
	}
	return out
}

var _ iptables.Tables = (*fake.Tables)(nil)
