package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/conntrack"
	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
	"miniplane.dev/miniplane/nodeagent/network"
)

// backend says which programs of iptables the tests use; each test with packets runs with both kinds.
var backends = map[string]iptables.Programs{
	"nft":    {IPTables: "iptables-nft", Restore: "iptables-nft-restore"},
	"legacy": {IPTables: "iptables-legacy", Restore: "iptables-legacy-restore"},
}

func eachBackend(t *testing.T, f func(t *testing.T, programs iptables.Programs)) {
	t.Helper()
	nettest.Root(t)
	for name, programs := range backends {
		t.Run(name, func(t *testing.T) {
			if _, err := iptables.New(programs); err != nil {
				t.Skip(err)
			}
			f(t, programs)
		})
	}
}

// testNode is a node with a real network and real rules.
type testNode struct {
	*nettest.NS
	t        testing.TB
	programs iptables.Programs
	config   Config
	net      *network.Node
	proxy    *Proxier
}

func newNode(t testing.TB, ns *nettest.NS, programs iptables.Programs, nodeIP, podCIDR string) *testNode {
	t.Helper()
	n := &testNode{NS: ns, t: t, programs: programs, config: testConfig}
	n.config.NodePodCIDR = netip.MustParsePrefix(podCIDR)
	var err error
	n.Do(func() {
		n.net, err = network.New(network.Options{
			NodeIP: ip(nodeIP), PodCIDR: n.config.NodePodCIDR, ClusterPodCIDR: n.config.ClusterPodCIDR,
			ServiceCIDR: n.config.ServiceCIDR, StateDir: t.TempDir(),
		})
	})
	must(t, err)
	t.Cleanup(n.net.Close)
	n.restart()
	return n
}

// restart is a new agent that knows nothing.
func (n *testNode) restart() {
	n.t.Helper()
	n.Do(func() {
		tables, err := iptables.New(n.programs)
		must(n.t, err)
		flows, err := conntrack.Open()
		must(n.t, err)
		n.t.Cleanup(flows.Close)
		n.proxy = New(Options{Config: n.config, Tables: tables, Flows: flows, Log: logr.Discard()})
	})
}

func (n *testNode) sync() {
	n.t.Helper()
	n.Do(func() { must(n.t, n.proxy.Sync(context.Background())) })
}

func (n *testNode) pod(name string) (*nettest.NS, netip.Addr) {
	n.t.Helper()
	pod := nettest.New(n.t, name)
	var addr netip.Addr
	var err error
	n.Do(func() { addr, err = n.net.Attach(context.Background(), name, pod.Path()) })
	must(n.t, err)
	return pod, addr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// twoNodes is two nodes on an Ethernet with a client outside, and a serving MiniPod on each.
type twoNodes struct {
	nodes   [2]*testNode
	pods    [2]*nettest.NS
	addrs   [2]netip.Addr
	outside *nettest.NS
}

func newTwoNodes(t *testing.T, programs iptables.Programs) *twoNodes {
	t.Helper()
	sw, n0, n1, out := nettest.New(t, "switch"), nettest.New(t, "n0"), nettest.New(t, "n1"), nettest.New(t, "outside")
	nettest.Bridge(sw, []*nettest.NS{n0, n1, out}, []string{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.9/24"})
	c := &twoNodes{outside: out}
	c.nodes[0] = newNode(t, n0, programs, "10.0.0.1", "100.64.0.0/22")
	c.nodes[1] = newNode(t, n1, programs, "10.0.0.2", "100.64.4.0/22")
	for i, n := range c.nodes {
		other := network.Peer{Name: "other", NodeIP: ip(fmt.Sprintf("10.0.0.%d", 2-i)), PodCIDR: c.nodes[1-i].config.NodePodCIDR}
		n.Do(func() { must(t, n.net.SetPeers(context.Background(), []network.Peer{other})) })
		c.pods[i], c.addrs[i] = n.pod(fmt.Sprint("pod", i))
		c.pods[i].Serve(fmt.Sprint("pod", i), ":8080")
	}
	return c
}

// service sets a service with tcp and udp ports on both nodes, and which of the two MiniPods serve it.
func (c *twoNodes) service(t *testing.T, name, vip string, nodePort int32, sticky bool, serving ...int) {
	t.Helper()
	service := &miniv1.MiniService{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	service.Status.ClusterIP = vip
	if sticky {
		service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name + "-1",
		Labels: map[string]string{miniv1.ServiceNameLabel: name}}}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		portName, target := strings.ToLower(string(protocol)), int32(8080)
		service.Spec.Ports = append(service.Spec.Ports, miniv1.ServicePort{Name: portName, Port: 80, Protocol: protocol})
		service.Status.Ports = append(service.Status.Ports, miniv1.ServicePortStatus{Name: portName, Port: 80, Protocol: protocol, NodePort: nodePort})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &portName, Port: &target, Protocol: &protocol})
	}
	for _, i := range serving {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{c.addrs[i].String()}})
	}
	for _, n := range c.nodes {
		n.proxy.SetService(service)
		n.proxy.SetEndpointSlice(slice)
		n.sync()
	}
}

// asks asks until both MiniPods have answered, and tells which addresses they saw the client have.
func asks(t *testing.T, from *nettest.NS, protocol, addr string) (servers, clients map[string]bool) {
	t.Helper()
	servers, clients = map[string]bool{}, map[string]bool{}
	for range 40 {
		server, client, err := from.Ask(protocol, addr)
		if err != nil {
			t.Fatalf("%s to %s: %v", protocol, addr, err)
		}
		servers[server] = true
		clients[server+" sees "+client] = true
		if len(servers) == 2 {
			break
		}
	}
	return servers, clients
}

func TestAllWaysIn(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "web", "100.96.0.1", 30080, false, 0, 1)
		client, clientAddr := c.nodes[0].pod("client")
		both := map[string]bool{"pod0": true, "pod1": true}
		ways := []struct {
			name string
			from *nettest.NS
			addr string
			sees map[string]bool
		}{
			{"container to ClusterIP", client, "100.96.0.1:80", sees(clientAddr.String(), clientAddr.String())},
			{"host to ClusterIP", c.nodes[0].NS, "100.96.0.1:80", sees("10.0.0.1", "10.0.0.1")},
			{"container to NodePort of its node", client, "10.0.0.1:30080", sees(clientAddr.String(), clientAddr.String())},
			{"container to NodePort of another node", client, "10.0.0.2:30080", sees("10.0.0.2", "10.0.0.1")},
			{"host to NodePort of its own", c.nodes[0].NS, "10.0.0.1:30080", sees("10.0.0.1", "10.0.0.1")},
			{"host to NodePort of another node", c.nodes[0].NS, "10.0.0.2:30080", sees("10.0.0.2", "10.0.0.1")},
			{"outside to NodePort", c.outside, "10.0.0.1:30080", sees("10.0.0.9", "10.0.0.1")},
			{"a backend to its own ClusterIP", c.pods[0], "100.96.0.1:80", nil},
		}
		for _, way := range ways {
			for _, protocol := range []string{"tcp", "udp"} {
				t.Run(way.name+" "+protocol, func(t *testing.T) {
					servers, clients := asks(t, way.from, protocol, way.addr)
					same(t, "who answers", both, servers)
					if way.sees != nil {
						same(t, "whom they see", way.sees, clients)
					}
				})
			}
		}
		if _, _, err := c.nodes[0].Ask("tcp", "127.0.0.1:30080"); !nettest.Refused(err) {
			t.Errorf("the node's loopback is its own: %v", err)
		}
	})
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
	for _, line := range strings.Split(n.Run(n.programs.IPTables+"-save"), "\n") {
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
