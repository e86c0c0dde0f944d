package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/fabric"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

// cloud is three nodes that believe to be on one Ethernet, as in the networks of clouds: a router answers for everybody and decides
// what passes.
type cloud struct {
	t      *testing.T
	router *nettest.NS
	nodes  []*node
	watch  *fabric.Watch
}

func newCloud(t *testing.T, encapsulation Encapsulation) *cloud {
	c := &cloud{t: t, router: nettest.New(t, "router"), watch: fabric.New("n0")}
	c.router.Forward()
	var peers []Peer
	for i := range 3 {
		peers = append(peers, peer(fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.0.%d", i+1), fmt.Sprintf("100.64.%d.0/22", 4*i)))
	}
	for _, p := range peers {
		ns := nettest.New(t, p.Name)
		nettest.Link(c.router, "10.0.0.254/32", ns, p.NodeIP.String()+"/24")
		c.router.Run("sysctl", "-qw", "net.ipv4.conf."+p.Name+".proxy_arp=1")
		c.router.Run("sysctl", "-qw", "net.ipv4.neigh."+p.Name+".proxy_delay=0") // else it takes up to 0.8 s to answer
		c.router.Run("ip", "route", "add", p.NodeIP.String(), "dev", p.Name)
		c.router.Run("ip", "route", "add", p.PodCIDR.String(), "via", p.NodeIP.String(), "dev", p.Name)
		n := newNode(t, ns, p.NodeIP.String(), p.PodCIDR.String())
		n.opts.Encapsulation = encapsulation
		n.restart()
		n.echoWait = 300 * time.Millisecond
		n.setPeers(peers...)
		c.nodes = append(c.nodes, n)
	}
	return c
}

// ask is one round of questions of the first node.
func (c *cloud) ask() map[string]fabric.Answer {
	c.t.Helper()
	n := c.nodes[0]
	var peers []fabric.Peer
	for _, w := range n.Ways() {
		peers = append(peers, fabric.Peer{Name: w.Name, NodeIP: w.NodeIP, Address: w.Address, Encapsulated: w.Encapsulated})
	}
	var answers map[fabric.Peer]fabric.Answer
	var err error
	n.Do(func() { answers, err = n.Echo(c.t.Context(), c.watch.Next(peers)) })
	check(c.t, err)
	c.watch.Hear(answers)
	out := map[string]fabric.Answer{}
	for p, a := range answers {
		out[p.Name] = a
	}
	return out
}

// says is the condition after three rounds.
func (c *cloud) says() metav1.Condition {
	c.t.Helper()
	for range 3 {
		c.ask()
	}
	condition, says := c.watch.Verdict().Condition(DefaultVXLANPort)
	if says != fabric.SaysCondition {
		c.t.Errorf("nothing is said: %+v", c.watch.Verdict())
	}
	return condition
}

func (c *cloud) want(what string, status metav1.ConditionStatus, reason string, words ...string) {
	c.t.Helper()
	got := c.says()
	if got.Status != status || got.Reason != reason {
		c.t.Errorf("%s: %s %s, want %s %s: %s", what, got.Status, got.Reason, status, reason, got.Message)
	}
	for _, word := range words {
		if !strings.Contains(got.Message, word) {
			c.t.Errorf("%s: want %q in %q", what, word, got.Message)
		}
	}
}

// drop makes the router drop what matches, until the test calls what it returns.
func (c *cloud) drop(match ...string) (mend func()) {
	c.t.Helper()
	c.router.Run("iptables", append([]string{"-w", "-I", "FORWARD", "-j", "DROP"}, match...)...)
	return func() {
		c.t.Helper()
		c.router.Run("iptables", append([]string{"-w", "-D", "FORWARD", "-j", "DROP"}, match...)...)
	}
}

// A network that drops addresses which it did not give: the nodes know nothing of it but that their packets do not arrive.
func TestFabricDropsRoutedPackets(t *testing.T) {
	c := newCloud(t, EncapsulateAuto)
	routes := c.nodes[0].NS.Run("ip", "route")
	if !strings.Contains(routes, "100.64.4.0/22 via 10.0.0.2") {
		t.Fatalf("the peers should be reached without VXLAN:\n%s", routes)
	}
	c.want("all is well", metav1.ConditionFalse, miniv1.ReasonPeersAnswer)
	mend := c.drop("-s", "100.64.0.0/11")
	c.want("sources are checked", metav1.ConditionTrue, miniv1.ReasonRoutedPacketsLost, "of n1, n2 are lost", "no node is reached", "--encapsulation=always")
	mend()
	c.want("mended", metav1.ConditionFalse, miniv1.ReasonPeersAnswer)
	mend = c.drop("-d", "100.64.8.0/22")
	c.want("one node has a check of destinations", metav1.ConditionTrue, miniv1.ReasonRoutedPacketsLost, "of n2 are lost", "others are reached in this way")
	also := c.drop("-p", "icmp", "-d", "10.0.0.3")
	c.want("and does not answer itself", metav1.ConditionFalse, miniv1.ReasonPeersAnswer)
	mend()
	also()
	mend = c.drop()
	c.want("nobody answers at all", metav1.ConditionUnknown, miniv1.ReasonPeersSilent)
	mend()
	c.want("all is well again", metav1.ConditionFalse, miniv1.ReasonPeersAnswer)
	same(t, "routes", routes, c.nodes[0].NS.Run("ip", "route"))
}

func TestFabricDropsVXLAN(t *testing.T) {
	c := newCloud(t, EncapsulateAlways)
	mend := c.drop("-s", "100.64.0.0/11") // which VXLAN is for
	c.want("all is well", metav1.ConditionFalse, miniv1.ReasonPeersAnswer)
	mend()
	mend = c.drop("-p", "udp", "--dport", fmt.Sprint(DefaultVXLANPort))
	c.want("the port is not open", metav1.ConditionTrue, miniv1.ReasonEncapsulatedPacketsLost, "by VXLAN to MiniPods of n1, n2", "let UDP 8473 pass")
	mend()
	c.want("mended", metav1.ConditionFalse, miniv1.ReasonPeersAnswer)
}

// What this machine does not let out, and a peer that has not made its address yet, tell nothing of the network.
func TestEchoOfWhatIsNotTheNetwork(t *testing.T) {
	c := newCloud(t, EncapsulateAuto)
	both := fabric.Answer{Node: true, Way: true}
	same(t, "answers", map[string]fabric.Answer{"n1": both, "n2": both}, c.ask())
	c.nodes[0].NS.Run("iptables", "-w", "-A", "OUTPUT", "-d", "100.64.4.1", "-j", "DROP")
	same(t, "a firewall of this machine", map[string]fabric.Answer{"n1": {}, "n2": both}, c.ask())
	c.nodes[2].setPeers()
	same(t, "who has no peers has no address", false, c.nodes[2].AnswersEchoes())
	same(t, "who has some has one", true, c.nodes[1].AnswersEchoes())
	c.nodes[0].setPeers()
	c.nodes[0].Do(func() {
		if _, err := c.nodes[0].Echo(t.Context(), []fabric.Peer{{Name: "n1", NodeIP: netip.MustParseAddr("10.0.0.2")}}); err == nil {
			t.Error("without an address of its own the node cannot ask")
		}
	})
}
