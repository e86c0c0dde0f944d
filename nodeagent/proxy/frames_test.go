package proxy

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"miniplane.dev/miniplane/internal/fabric"
	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
	"miniplane.dev/miniplane/nodeagent/network"
)

// frame is what a node's VXLAN device takes for a UDP packet from a MiniPod of another: VXLAN's head, an Ethernet frame to the
// device's MAC, which everybody can work out, and the packet.
func frame(node netip.Addr, src, dst netip.AddrPort, payload string) []byte {
	udp := binary.BigEndian.AppendUint16(nil, src.Port())
	udp = binary.BigEndian.AppendUint16(udp, dst.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...) // no checksum
	head := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(20+len(udp)))
	head = append(append(head, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	sum := uint32(0)
	for i := 0; i < len(head); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(head[i:]))
	}
	binary.BigEndian.PutUint16(head[10:], ^uint16(sum>>16+sum&0xffff))
	out := binary.BigEndian.AppendUint32(nil, 0x08000000)
	out = binary.BigEndian.AppendUint32(out, network.DefaultVXLANID<<8)
	out = append(append(out, 0x0a, 0x6d), node.AsSlice()...) // to
	out = append(out, 0x0a, 0x6d, 10, 0, 0, 99, 0x08, 0x00)  // from
	return append(append(out, head...), udp...)
}

// listen opens a UDP port inside a namespace.
func listen(t *testing.T, ns *nettest.NS, addr string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	var err error
	ns.Do(func() { conn, err = net.ListenPacket("udp4", addr) })
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send sends one packet from inside a namespace.
func send(t *testing.T, ns *nettest.NS, to string, payload []byte) {
	t.Helper()
	conn, err := ns.Dial("udp", to)
	must(t, err)
	_, _ = conn.Write(payload) // a refusal is as good as silence
}

// Real frames, from whoever can send UDP to a node. After each one that must be dropped comes a packet that must arrive, so that nobody
// has to wait for what does not come.
func TestFramesAreTakenFromPeersOnly(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs, func(o *network.Options) { o.Encapsulation = network.EncapsulateAlways })
		native := nettest.New(t, "native")
		nettest.Link(c.nodes[0].NS, "10.244.0.1/24", native, "10.244.0.5/24")
		native.Route("0.0.0.0/0", "10.244.0.1")
		c.nodes[0].Run(programs.IPTables, "-t", "nat", "-A", "POSTROUTING", "-s", "10.244.0.0/24", "-j", "MASQUERADE")
		c.outside.Route("100.64.0.0/11", "10.0.0.2")
		victim := netip.AddrPortFrom(c.addrs[1], 9999)
		heard := listen(t, c.pods[1], ":9999")
		crafted := func(src, payload string) []byte { return frame(ip("10.0.0.2"), at(src), victim, payload) }
		hears := func() string {
			t.Helper()
			_ = heard.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 64)
			n, _, err := heard.ReadFrom(buf)
			must(t, err)
			return string(buf[:n])
		}
		send(t, c.nodes[0].NS, "10.0.0.2:8473", crafted("100.64.0.99:1", "a peer's frame"))
		same(t, "heard", "a peer's frame", hears())
		tests := []struct {
			name string
			from *nettest.NS
			to   string
			data []byte
		}{
			{"a MiniPod to another node", c.pods[0], "10.0.0.2:8473", crafted("100.64.0.99:1", "x")},
			{"a MiniPod to its own node", c.pods[1], "10.0.0.2:8473", crafted("100.64.0.99:1", "x")},
			{"a native Pod to another node", native, "10.0.0.2:8473", crafted("100.64.0.99:1", "x")},
			{"an outsider", c.outside, "10.0.0.2:8473", crafted("100.64.0.99:1", "x")},
			{"a peer in the name of a MiniPod of the node itself", c.nodes[0].NS, "10.0.0.2:8473", crafted("100.64.4.99:1", "x")},
			{"a peer in the name of an outsider", c.nodes[0].NS, "10.0.0.2:8473", crafted("192.0.2.9:1", "x")},
		}
		for _, test := range tests {
			send(t, test.from, test.to, test.data)
			send(t, c.pods[0], victim.String(), []byte("after "+test.name))
			same(t, "heard", "after "+test.name, hears())
		}
		// A plain packet with a MiniPod's source, from outside.
		c.outside.Run("ip", "addr", "add", "100.64.4.77/32", "dev", "lo")
		c.outside.Do(func() {
			conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(100, 64, 4, 77)}}).Dial("udp4", victim.String())
			must(t, err)
			_, _ = conn.Write([]byte("spoofed"))
			_ = conn.Close()
		})
		send(t, c.pods[0], victim.String(), []byte("after a spoofed source"))
		same(t, "heard", "after a spoofed source", hears())
	})
}

// A MiniPod that speaks in the name of its neighbour is not heard, also where the machine checks sources loosely.
func TestMiniPodsSpeakInTheirOwnName(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		n := c.nodes[0]
		n.Run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2")
		liar, _ := n.pod("liar")
		neighbour, own := n.pod("neighbour")
		_ = neighbour
		heard := listen(t, c.pods[1], ":9999")
		to := netip.AddrPortFrom(c.addrs[1], 9999).String()
		liar.Run("ip", "addr", "add", own.String()+"/32", "dev", "lo")
		liar.Do(func() {
			conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: own.AsSlice()}}).Dial("udp4", to)
			must(t, err)
			_, _ = conn.Write([]byte("a lie"))
			_ = conn.Close()
		})
		send(t, liar, to, []byte("the truth"))
		_ = heard.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 64)
		k, _, err := heard.ReadFrom(buf)
		must(t, err)
		same(t, "heard", "the truth", string(buf[:k]))
	})
}

// Another network plugin's policies for its own Pods hold for MiniPods too, in the order in which rules are added on a node
// where the agent came first, and with docker's policy of FORWARD.
func TestNativePoliciesWithPackets(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		n := c.nodes[0]
		db, web := nettest.New(t, "db"), nettest.New(t, "web")
		for pod, net := range map[*nettest.NS]string{db: "10.244.5", web: "10.244.6"} {
			nettest.Link(n.NS, net+".1/24", pod, net+".5/24")
			pod.Route("0.0.0.0/0", net+".1")
		}
		db.Serve("db", ":5432")
		web.Serve("web", ":80")
		for _, rule := range [][]string{
			{"-P", "FORWARD", "DROP"},
			{"-N", "KUBE-ROUTER-FORWARD"},
			{"-A", "KUBE-ROUTER-FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
			{"-A", "KUBE-ROUTER-FORWARD", "-d", "10.244.5.5/32", "-j", "REJECT"},
			{"-A", "KUBE-ROUTER-FORWARD", "-d", "10.244.6.5/32", "-j", "ACCEPT"},
			{"-A", "KUBE-ROUTER-FORWARD", "-s", "10.244.6.5/32", "-d", "100.64.0.0/11", "-p", "tcp", "-j", "REJECT"}, // its egress
			{"-A", "FORWARD", "-j", "KUBE-ROUTER-FORWARD"},
		} {
			n.Run(programs.IPTables, rule...)
		}
		n.proxy.rewrite = true
		n.sync()
		pod, addr := n.pod("client")
		pod.Serve("client", ":8080")
		if _, _, err := pod.Ask("tcp", "10.244.5.5:5432"); !nettest.Refused(err) {
			t.Errorf("a Pod that takes nothing: %v", err)
		}
		if _, _, err := web.Ask("tcp", addr.String()+":8080"); !nettest.Refused(err) {
			t.Errorf("a Pod that may not send: %v", err)
		}
		for to, want := range map[string]string{"10.244.6.5:80": "web", c.addrs[1].String() + ":8080": "pod1"} {
			server, _, err := pod.Ask("tcp", to)
			must(t, err)
			same(t, "who answers", want, server)
		}
		server, _, err := c.pods[1].Ask("tcp", addr.String()+":8080")
		must(t, err)
		same(t, "who answers a remote MiniPod", "client", server)
		server, _, err = c.nodes[1].Ask("tcp", addr.String()+":8080")
		must(t, err)
		same(t, "who answers a peer", "client", server)
		n.Do(func() { must(t, n.proxy.opts.Tables.Cleanup(context.Background())) })
	})
}

// A firewall of a node that knows the nodes and not their MiniPods' ranges drops nothing of what MiniPods send each other, for that is
// forwarded. So the question whether packets get through must not stop at it; an outsider's does.
func TestEchoesPassTheNodesFirewall(t *testing.T) {
	for _, encapsulation := range []network.Encapsulation{network.EncapsulateAuto, network.EncapsulateAlways} {
		t.Run(string(encapsulation), func(t *testing.T) {
			c := newTwoNodes(t, iptables.Programs{}, func(o *network.Options) { o.Encapsulation = encapsulation })
			for _, n := range c.nodes {
				n.Run("iptables", "-w", "-A", "INPUT", "-s", "10.0.0.0/24", "-j", "ACCEPT")
				n.Run("iptables", "-w", "-P", "INPUT", "DROP")
			}
			asker := c.nodes[0]
			way := asker.net.Ways()[0]
			p := fabric.Peer{Name: way.Name, NodeIP: way.NodeIP, Address: way.Address}
			var got map[fabric.Peer]fabric.Answer
			var err error
			asker.Do(func() { got, err = asker.net.Echo(t.Context(), []fabric.Peer{p}) })
			must(t, err)
			same(t, "answers", map[fabric.Peer]fabric.Answer{p: {Node: true, Way: true}}, got)
			if server, _ := asks(t, c.pods[0], "tcp", c.addrs[1].String()+":8080"); len(server) == 0 {
				t.Error("MiniPods do not reach each other")
			}
		})
	}
}
