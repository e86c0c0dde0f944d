package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

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

func newNode(t testing.TB, ns *nettest.NS, programs iptables.Programs, nodeIP, podCIDR string, change ...func(*network.Options)) *testNode {
	t.Helper()
	n := &testNode{NS: ns, t: t, programs: programs, config: testConfig}
	n.config.NodePodCIDR = netip.MustParsePrefix(podCIDR)
	var err error
	opts := network.Options{
		NodeIP: ip(nodeIP), PodCIDR: n.config.NodePodCIDR, ClusterPodCIDR: n.config.ClusterPodCIDR,
		ServiceCIDR: n.config.ServiceCIDR, StateDir: t.TempDir(),
	}
	for _, c := range change {
		c(&opts)
	}
	n.Do(func() { n.net, err = network.New(opts) })
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
		flows, err := conntrack.Open(nil)
		must(n.t, err)
		n.t.Cleanup(flows.Close)
		n.proxy = New(Options{Config: n.config, Tables: tables, Flows: flows, Log: logr.Discard()})
		n.believe()
	})
}

// believe gives the proxier the peers that the network has.
func (n *testNode) believe() {
	var peers []Peer
	for _, w := range n.net.Ways() {
		peers = append(peers, Peer{NodeIP: w.NodeIP, PodCIDR: w.PodCIDR, Near: w.Near})
	}
	n.proxy.SetPeers(peers)
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

func newTwoNodes(t *testing.T, programs iptables.Programs, change ...func(*network.Options)) *twoNodes {
	t.Helper()
	sw, n0, n1, out := nettest.New(t, "switch"), nettest.New(t, "n0"), nettest.New(t, "n1"), nettest.New(t, "outside")
	nettest.Bridge(sw, []*nettest.NS{n0, n1, out}, []string{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.9/24"})
	c := &twoNodes{outside: out}
	c.nodes[0] = newNode(t, n0, programs, "10.0.0.1", "100.64.0.0/22", change...)
	c.nodes[1] = newNode(t, n1, programs, "10.0.0.2", "100.64.4.0/22", change...)
	for i, n := range c.nodes {
		other := network.Peer{Name: "other", NodeIP: ip(fmt.Sprintf("10.0.0.%d", 2-i)), PodCIDR: c.nodes[1-i].config.NodePodCIDR}
		n.Do(func() { must(t, n.net.SetPeers(context.Background(), []network.Peer{other})) })
		n.believe()
		n.sync()
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
