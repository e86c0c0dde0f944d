package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/iptables/fake"
)

// Who may speak in whose name. A packet that is let through says where it goes.
func TestWhoIsBelieved(t *testing.T) {
	w := fewServices(t)
	const pod = "mini100x64x0x7" // the link of localPod
	tests := []struct{ name, protocol, in, src, dst, want string }{
		{"a MiniPod in its own name", "tcp", pod, localPod, "192.0.2.1:80", "192.0.2.1:80 masqueraded"},
		{"a MiniPod in its neighbour's name", "tcp", pod, otherLocal, "192.0.2.1:80", "dropped"},
		{"a MiniPod in a remote MiniPod's name", "tcp", pod, remotePod, "100.64.0.8:80", "dropped"},
		{"a MiniPod in the name of a node", "udp", pod, "10.9.0.3", "10.0.0.1:8473", "dropped"},
		{"a MiniPod in the name of an outsider", "tcp", pod, outside, "10.0.0.1:22", "dropped"},
		{"a MiniPod's frame to its node", "udp", pod, localPod, "10.0.0.1:8473", "dropped"},
		{"a MiniPod's frame to another node", "udp", pod, localPod, "10.9.0.3:8473", "dropped"},
		{"a MiniPod to that port of a MiniPod", "udp", pod, localPod, "100.64.4.7:8473", "100.64.4.7:8473"},
		{"tcp to that port", "tcp", pod, localPod, "10.9.0.3:8473", "10.9.0.3:8473 masqueraded"},

		{"a far peer's frame", "udp", "eth0", "10.9.0.3", "10.0.0.1:8473", "10.0.0.1:8473"},
		{"a near peer's frame", "udp", "eth0", "10.0.0.2", "10.0.0.1:8473", "10.0.0.1:8473"},
		{"an outsider's frame", "udp", "eth0", outside, "10.0.0.1:8473", "dropped"},
		{"an outsider's frame as if of a MiniPod", "udp", "eth0", remotePod, "10.0.0.1:8473", "dropped"},
		{"a native Pod's frame to its node", "udp", "cni0", "10.244.0.5", "10.0.0.1:8473", "dropped"},
		{"a native Pod's frame to another node", "udp", "cni0", "10.244.0.5", "10.9.0.3:8473", "dropped"},

		{"a near peer's MiniPod", "tcp", "eth0", remotePod, "100.64.0.7:80", "100.64.0.7:80"},
		{"a near peer's MiniPod by VXLAN", "tcp", vxlanLink, remotePod, "100.64.0.7:80", "100.64.0.7:80"},
		{"a far peer's MiniPod by VXLAN", "tcp", vxlanLink, otherRemote, "100.64.0.7:80", "100.64.0.7:80"},
		{"a far peer's MiniPod without", "tcp", "eth0", otherRemote, "100.64.0.7:80", "dropped"},
		{"a local MiniPod from outside", "tcp", "eth0", otherLocal, "100.64.0.7:80", "dropped"},
		{"a local MiniPod by VXLAN", "tcp", vxlanLink, otherLocal, "100.64.0.7:80", "dropped"},
		{"nobody's MiniPod", "tcp", "eth0", "100.70.0.1", "100.64.0.7:80", "dropped"},
		{"an outsider by VXLAN", "tcp", vxlanLink, outside, "100.64.0.7:80", "dropped"},
		{"a native Pod in a MiniPod's name", "tcp", "cni0", localPod, "100.64.0.8:80", "dropped"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := w.kernel.Send(fake.Packet{Protocol: test.protocol, Src: ip(test.src), Dst: at(test.dst), In: test.in})
			same(t, "verdict", test.want, words(v))
		})
	}
}

// Where the kernel cannot say by which link a source is reached, a MiniPod can speak in the name of another of its node, and no further.
func TestWithoutReversePath(t *testing.T) {
	cfg, tables := testConfig, &fake.Tables{}
	cfg.NoReversePath = true
	w := &world{t: t, rules: newRuleset(cfg), tables: tables, kernel: &fake.Kernel{Tables: tables, Local: []netip.Addr{ip("10.0.0.1")}, Link: links}}
	w.setPeers(testPeers)
	w.apply()
	if err := tables.EnsureFirst(t.Context(), jumps); err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]bool{localPod: false, otherLocal: false, remotePod: true, "10.9.0.3": true, outside: true} {
		v := w.kernel.Send(fake.Packet{Protocol: "tcp", Src: ip(src), Dst: at("192.0.2.1:80"), In: "mini100x64x0x7"})
		same(t, src+" is dropped", want, v.Dropped)
	}
}

// A peer that is gone is believed no more.
func TestPeersComeAndGo(t *testing.T) {
	p, tables, _ := newProxier()
	k := &fake.Kernel{Tables: tables, Local: []netip.Addr{ip("10.0.0.1")}, Link: links}
	frame := fake.Packet{Protocol: "udp", Src: ip("10.9.0.3"), Dst: at("10.0.0.1:8473")}
	inner := fake.Packet{Protocol: "tcp", Src: ip(otherRemote), Dst: at("100.64.0.7:80"), In: vxlanLink}
	for _, step := range []struct {
		peers []Peer
		want  bool
	}{{nil, false}, {testPeers, true}, {testPeers[:1], false}, {testPeers, true}} {
		p.SetPeers(step.peers)
		mustSync(t, p)
		same(t, "dropped", []bool{!step.want, !step.want}, []bool{k.Send(frame).Dropped, k.Send(inner).Dropped})
	}
	p.SetPeers([]Peer{{NodeIP: ip("10.9.0.3"), PodCIDR: netip.MustParsePrefix("100.64.0.7/32")}}) // a part of another's range
	mustSync(t, p)
	same(t, "a part of this node's range is not believed", true, k.Send(frame).Dropped)
}

// Nodes keep their ranges when others are given some of another size.
func TestRangesOfManySizes(t *testing.T) {
	w := newWorld(t)
	var peers []Peer
	for i, cidr := range []string{"100.64.16.0/24", "100.64.17.0/24", "100.64.18.0/23", "100.64.20.0/22", "100.64.24.0/26", "100.64.24.64/26",
		"100.64.24.128/30", "100.64.32.0/19", "100.80.0.0/12", "100.64.64.0/25", "100.64.64.128/25", "100.64.65.0/24"} {
		peers = append(peers, Peer{NodeIP: netip.AddrFrom4([4]byte{10, 9, 1, byte(i)}), PodCIDR: netip.MustParsePrefix(cidr)})
	}
	w.setPeers(peers)
	last := func(p netip.Prefix) netip.Addr {
		b := p.Addr().As4()
		for i := p.Bits(); i < 32; i++ {
			b[i/8] |= 1 << (7 - i%8)
		}
		return netip.AddrFrom4(b)
	}
	from := func(addr netip.Addr) bool {
		return !w.kernel.Send(fake.Packet{Protocol: "tcp", Src: addr, Dst: at("100.64.0.7:80"), In: vxlanLink}).Dropped
	}
	for _, p := range peers {
		if !from(p.PodCIDR.Addr().Next()) || !from(last(p.PodCIDR)) {
			t.Errorf("%s is not believed", p.PodCIDR)
		}
		next := last(p.PodCIDR).Next()
		known := slices.ContainsFunc(append(peers, testPeers...), func(o Peer) bool { return o.PodCIDR.Contains(next) })
		if from(next) != known {
			t.Errorf("%s, which is after %s: believed %t", next, p.PodCIDR, !known)
		}
	}
}

// The rules that a packet passes grow as the logarithm of the number of peers, and a change of one writes little.
func TestThousandsOfPeers(t *testing.T) {
	w := newWorld(t)
	var peers []Peer
	for i := 1; i < 2048; i++ {
		addr := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + i>>6), byte(i << 2), 0}), 22)
		peers = append(peers, Peer{NodeIP: addr, PodCIDR: cidr})
	}
	w.setPeers(peers)
	most := 0
	for _, peer := range peers {
		frame := w.kernel.Send(fake.Packet{Protocol: "udp", Src: peer.NodeIP, Dst: at("10.0.0.1:8473")})
		inner := w.kernel.Send(fake.Packet{Protocol: "tcp", Src: peer.PodCIDR.Addr().Next(), Dst: at("100.64.0.7:80"), In: vxlanLink})
		if frame.Dropped || inner.Dropped {
			t.Fatalf("%v is not believed", peer)
		}
		most = max(most, frame.Rules, inner.Rules)
	}
	if most > 48 {
		t.Errorf("%d rules for one packet", most)
	}
	w.rules.set("peer/"+peers[77].NodeIP.String(), contribution{})
	if written, removed := w.apply(); written > 24 || removed > 9 {
		t.Errorf("one peer less: %d chains written, %d removed", written, removed)
	}
}

// policies are those of others on the node, as their network plugins write them: native Pod 10.244.0.5 takes nothing, 10.244.0.6 may be
// reached and may send nothing. What they do not know they leave alone, and the policy of FORWARD is DROP, as docker's.
func policies(tables *fake.Tables) {
	for _, rule := range []string{
		"-d 10.244.0.5/32 -j DROP", "-s 10.244.0.6/32 -j DROP", "-d 10.244.0.0/24 -j ACCEPT", "-s 10.244.0.0/24 -j ACCEPT",
	} {
		tables.Append(iptables.Rule{Table: iptables.Filter, Chain: "FORWARD", Spec: rule})
	}
}

func TestOthersPoliciesHold(t *testing.T) {
	p, tables, _ := newProxier()
	p.SetPeers(testPeers)
	p.SetService(service("a", "100.96.0.1", 30080, "TCP"))
	p.SetEndpointSlice(slice("a-1", "a", "TCP", "100.64.4.7"))
	mustSync(t, p)
	policies(tables) // came after us
	p.rewrite = true
	mustSync(t, p)
	tables.Append(iptables.Rule{Table: iptables.Filter, Chain: "FORWARD", Spec: "-j DROP"})
	k := &fake.Kernel{Tables: tables, Local: []netip.Addr{ip("10.0.0.1")}, Link: links}
	tests := []struct{ name, src, dst, want string }{
		{"MiniPod to a native Pod that takes nothing", localPod, "10.244.0.5:5432", "dropped"},
		{"MiniPod to one that takes it", localPod, "10.244.0.7:80", "10.244.0.7:80 masqueraded"},
		{"remote MiniPod to one that takes nothing", remotePod, "10.244.0.5:5432", "dropped"},
		{"a native Pod that may not send, to a MiniPod", "10.244.0.6", "100.64.0.7:80", "dropped"},
		{"a native Pod that may", "10.244.0.7", "100.64.0.7:80", "100.64.0.7:80"},
		{"MiniPod to the outside", localPod, "192.0.2.1:80", "192.0.2.1:80 masqueraded"},
		{"MiniPod to MiniPod", localPod, "100.64.0.8:80", "100.64.0.8:80"},
		{"MiniPod to remote MiniPod", localPod, "100.64.4.7:80", "100.64.4.7:80"},
		{"remote MiniPod to MiniPod", remotePod, "100.64.0.7:80", "100.64.0.7:80"},
		{"peer to MiniPod", "10.0.0.2", "100.64.0.7:80", "100.64.0.7:80"},
		{"outside to a node port, backend elsewhere", outside, "10.0.0.1:30080", "100.64.4.7:8080 masqueraded"},
		{"outside to a MiniPod", outside, "100.64.0.7:80", "dropped"},
		{"outside to a remote MiniPod", outside, "100.64.4.7:80", "dropped"},
		{"outside to outside", outside, "198.51.100.1:80", "dropped"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			same(t, "verdict", test.want, words(k.Send(fake.Packet{Protocol: "tcp", Src: ip(test.src), Dst: at(test.dst)})))
		})
	}
}

// The ports of others on the node win over those of MiniPods, whoever came first.
func TestOthersNodePortsWin(t *testing.T) {
	p, tables, _ := newProxier()
	p.SetHostPorts("uid", []HostPort{{Protocol: TCP, Port: 30443, To: at("100.64.0.7:443")}, {Protocol: TCP, Port: 8443, To: at("100.64.0.7:443")}})
	mustSync(t, p)
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		tables.Append(iptables.Rule{Table: iptables.NAT, Chain: chain, Spec: "-p tcp -m tcp --dport 30443 -j DNAT --to-destination 10.244.0.5:443"})
	}
	p.rewrite = true
	mustSync(t, p)
	for port, want := range map[int]string{30443: "10.244.0.5:443 masqueraded", 8443: "100.64.0.7:443"} {
		same(t, fmt.Sprint(port), want, went(tables, "tcp", fmt.Sprintf("10.0.0.1:%d", port)))
	}

}
