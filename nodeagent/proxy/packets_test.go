package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
	"miniplane.dev/miniplane/nodeagent/network"
)

func TestAllWaysIn(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		t.Run("routed", func(t *testing.T) {
			allWaysIn(t, newTwoNodes(t, programs), "10.0.0.1", "10.0.0.2")
		})
		t.Run("encapsulated", func(t *testing.T) {
			encapsulate := func(o *network.Options) { o.Encapsulation = network.EncapsulateAlways }
			allWaysIn(t, newTwoNodes(t, programs, encapsulate), "100.64.0.1", "100.64.4.1")
		})
	})
}

// allWaysIn takes the addresses that stand for the nodes where one masquerades for a backend on the other.
func allWaysIn(t *testing.T, c *twoNodes, node0, node1 string) {
	c.service(t, "web", "100.96.0.1", 30080, false, 0, 1)
	client, clientAddr := c.nodes[0].pod("client")
	ways := []struct {
		name string
		from *nettest.NS
		addr string
		sees map[string]bool
	}{
		{"container to ClusterIP", client, "100.96.0.1:80", sees(clientAddr.String(), clientAddr.String())},
		{"host to ClusterIP", c.nodes[0].NS, "100.96.0.1:80", sees("10.0.0.1", node0)},
		{"container to NodePort of its node", client, "10.0.0.1:30080", sees(clientAddr.String(), clientAddr.String())},
		{"container to NodePort of another node", client, "10.0.0.2:30080", sees(node1, "10.0.0.1")},
		{"host to NodePort of its own", c.nodes[0].NS, "10.0.0.1:30080", sees("10.0.0.1", node0)},
		{"host to NodePort of another node", c.nodes[0].NS, "10.0.0.2:30080", sees(node1, "10.0.0.1")},
		{"outside to NodePort", c.outside, "10.0.0.1:30080", sees("10.0.0.9", node0)},
		{"a backend to its own ClusterIP", c.pods[0], "100.96.0.1:80", nil},
	}
	for _, way := range ways {
		for _, protocol := range []string{"tcp", "udp"} {
			t.Run(way.name+" "+protocol, func(t *testing.T) {
				servers, clients := asks(t, way.from, protocol, way.addr)
				same(t, "who answers", map[string]bool{"pod0": true, "pod1": true}, servers)
				if way.sees != nil {
					same(t, "whom they see", way.sees, clients)
				}
			})
		}
	}
	if _, _, err := c.nodes[0].Ask("tcp", "127.0.0.1:30080"); !nettest.Refused(err) {
		t.Errorf("the node's loopback is its own: %v", err)
	}
}

// sees is what the backend on the first node and that on the second see of the client.
func sees(local, remote string) map[string]bool {
	return map[string]bool{"pod0 sees " + local: true, "pod1 sees " + remote: true}
}

func TestServiceWithoutBackendsRefuses(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "web", "100.96.0.1", 30080, false)
		for _, from := range []*nettest.NS{c.pods[0], c.nodes[0].NS, c.outside} {
			for _, addr := range []string{"100.96.0.1:80", "10.0.0.1:30080"} {
				if from == c.outside && strings.HasPrefix(addr, "100.") {
					continue
				}
				start := time.Now()
				if _, _, err := from.Ask("tcp", addr); !nettest.Refused(err) || time.Since(start) > time.Second {
					t.Errorf("want a refusal of %s at once, got %v after %v", addr, err, time.Since(start))
				}
				if _, _, err := from.Ask("udp", addr); !nettest.Refused(err) {
					t.Errorf("want a refusal of %s by udp, got %v", addr, err)
				}
			}
		}
		c.service(t, "web", "100.96.0.1", 30080, false, 1)
		server, _, err := c.nodes[0].Ask("tcp", "100.96.0.1:80")
		must(t, err)
		same(t, "who answers", "pod1", server)
	})
}

func TestAffinityWithPackets(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "web", "100.96.0.1", 30080, true, 0, 1)
		for _, protocol := range []string{"tcp", "udp"} {
			seen := map[string]bool{}
			for range 12 {
				server, _, err := c.outside.Ask(protocol, "10.0.0.1:30080")
				must(t, err)
				seen[server] = true
			}
			if len(seen) != 1 {
				t.Errorf("%s: one client met %v", protocol, seen)
			}
			first := 0
			if seen["pod1"] {
				first = 1
			}
			c.service(t, "web", "100.96.0.1", 30080, true, 1-first) // the backend goes, and its affinity with it
			server, _, err := c.outside.Ask(protocol, "10.0.0.1:30080")
			must(t, err)
			same(t, "the other one answers", fmt.Sprint("pod", 1-first), server)
			c.service(t, "web", "100.96.0.1", 30080, true, 0, 1)
		}
	})
}

// A client that goes on sending UDP from one socket must meet a new backend when its own goes away, and a first backend
// when there was none.
func TestUDPFollowsTheBackends(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "web", "100.96.0.1", 30080, false, 0)
		for _, addr := range []string{"100.96.0.1:80", "10.0.0.1:30080"} {
			c.service(t, "web", "100.96.0.1", 30080, false, 0)
			conn, err := c.nodes[0].Dial("udp", addr)
			must(t, err)
			server, _, err := conn.Ask()
			must(t, err)
			same(t, addr+": before", "pod0", server)
			c.service(t, "web", "100.96.0.1", 30080, false, 1)
			server, _, err = conn.Ask()
			must(t, err)
			same(t, addr+": after", "pod1", server)
		}
	})
}

func TestHostPort(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		var ports []HostPort
		for _, protocol := range []Protocol{TCP, UDP} {
			ports = append(ports, HostPort{Protocol: protocol, Port: 8443, To: netip.AddrPortFrom(c.addrs[0], 8080)})
		}
		c.nodes[0].proxy.SetHostPorts("uid", ports)
		c.nodes[0].sync()
		c.nodes[1].sync()
		for _, protocol := range []string{"tcp", "udp"} {
			for from, want := range map[*nettest.NS]string{c.outside: "10.0.0.9", c.nodes[0].NS: "10.0.0.1", c.pods[1]: "10.0.0.2"} {
				server, client, err := from.Ask(protocol, "10.0.0.1:8443")
				must(t, err)
				same(t, "who answers and sees", []string{"pod0", want}, []string{server, client})
			}
			server, _, err := c.pods[0].Ask(protocol, "10.0.0.1:8443") // itself
			must(t, err)
			same(t, "who answers", "pod0", server)
		}
		c.nodes[0].proxy.SetHostPorts("uid", nil)
		c.nodes[0].sync()
		if _, _, err := c.outside.Ask("tcp", "10.0.0.1:8443"); !nettest.Refused(err) {
			t.Errorf("the host port is gone: %v", err)
		}
	})
}

func TestForwardingWhereThePolicyIsDrop(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		for _, n := range c.nodes {
			n.Run(programs.IPTables, "-P", "FORWARD", "DROP")
		}
		c.service(t, "web", "100.96.0.1", 30080, false, 0, 1)
		asks(t, c.outside, "tcp", "10.0.0.1:30080")
		asks(t, c.pods[0], "tcp", "100.96.0.1:80")
	})
}

// The agent is killed and a new one starts: connections live on, and what was removed meanwhile goes away.
func TestAgentRestart(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "old", "100.96.0.9", 30090, false, 0)
		c.service(t, "web", "100.96.0.1", 30080, false, 0, 1)
		conn, err := c.outside.Dial("tcp", "10.0.0.1:30080")
		must(t, err)
		before, _, err := conn.Ask()
		must(t, err)
		c.nodes[0].restart()
		c.service(t, "web", "100.96.0.1", 30080, false, 0, 1)
		after, _, err := conn.Ask()
		must(t, err)
		same(t, "the same connection", before, after)
		asks(t, c.outside, "tcp", "10.0.0.1:30080")
		if _, _, err := c.outside.Ask("tcp", "10.0.0.1:30090"); !nettest.Refused(err) {
			t.Errorf("the old service is gone: %v", err)
		}
	})
}

func TestFlushedRulesComeBack(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "web", "100.96.0.1", 30080, false, 0, 1)
		n := c.nodes[0]
		n.proxy.opts.CheckPeriod = 100 * time.Millisecond
		before := rules(n)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.Do(func() { n.proxy.Run(ctx) })
		}()
		defer func() { cancel(); <-done }()
		for _, harm := range [][]string{
			{"-t", "nat", "-F"}, {"-F"}, {"-t", "nat", "-D", "OUTPUT", "-j", "MINI-SERVICES"}, {"-F", "MINI-FORWARD"}, {"-F", "FORWARD"},
		} {
			n.Run(programs.IPTables, harm...)
			deadline := time.Now().Add(5 * time.Second)
			for rules(n) != before && time.Now().Before(deadline) {
				time.Sleep(20 * time.Millisecond)
			}
			same(t, strings.Join(harm, " "), before, rules(n))
		}
	})
}

// rules is what iptables-save prints, without what changes by itself.
func rules(n *testNode) string {
	var out []string
	for line := range strings.SplitSeq(n.Run(n.programs.IPTables+"-save"), "\n") {
		if !strings.HasPrefix(line, "#") {
			line, _, _ = strings.Cut(line, " [")
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func TestCleanupLeavesTheTablesAsTheyWere(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		ns := nettest.New(t, "node")
		ns.Run("ip", "addr", "add", "10.0.0.1/32", "dev", "lo")
		n := newNode(t, ns, programs, "10.0.0.1", "100.64.0.0/22")
		n.Run(programs.IPTables, "-t", "nat", "-N", "KUBE-SERVICES")
		n.Run(programs.IPTables, "-t", "nat", "-A", "PREROUTING", "-m", "comment", "--comment", "MINI-golf is a game", "-j", "KUBE-SERVICES")
		n.Run(programs.IPTables, "-A", "FORWARD", "-s", "10.1.0.0/16", "-j", "ACCEPT")
		n.Run(programs.IPTables, "-t", "raw", "-A", "OUTPUT", "-j", "ACCEPT") // which makes the table where it is not there
		n.Run(programs.IPTables, "-t", "raw", "-D", "OUTPUT", "-j", "ACCEPT")
		before := rules(n)
		for _, s := range many(50) {
			n.proxy.rules.set("service/"+s.Name, n.proxy.rules.service(s))
		}
		n.sync()
		if got := n.Run(programs.IPTables, "-t", "nat", "-S", "PREROUTING"); !strings.Contains(got, "-A PREROUTING -j MINI-SERVICES\n-A PREROUTING -m") {
			t.Errorf("the jump should come first:\n%s", got)
		}
		n.Do(func() { must(t, n.proxy.opts.Tables.Cleanup(context.Background())) })
		same(t, "the tables", before, rules(n))
		n.Do(func() { must(t, n.proxy.opts.Tables.Cleanup(context.Background())) }) // nothing is no error
	})
}
