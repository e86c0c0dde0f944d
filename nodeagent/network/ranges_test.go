package network

import (
	"net/netip"
	"strings"
	"testing"

	"miniplane.dev/miniplane/nodeagent/nettest"
)

// checkIn looks for collisions in a namespace.
func checkIn(n *node) (err error) {
	n.Do(func() { err = CheckRanges(n.opts.ClusterPodCIDR, n.opts.ServiceCIDR) })
	return err
}

// An agent that is started again finds all of its own routes, links and addresses, and is not in its own way.
func TestOwnRoutesDoNotCollide(t *testing.T) {
	n := alone(t)
	n.attach("uid-a", nettest.New(t, "a"))
	n.NS.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	n.NS.Run("ip", "addr", "add", "10.1.0.1/24", "dev", "eth0")
	n.NS.Run("ip", "link", "set", "eth0", "up")
	n.setPeers(
		Peer{Name: "far", NodeIP: netip.MustParseAddr("10.9.0.2"), PodCIDR: netip.MustParsePrefix("100.64.4.0/22")},
		Peer{Name: "near", NodeIP: netip.MustParseAddr("10.1.0.2"), PodCIDR: netip.MustParsePrefix("100.64.8.0/22")})
	if !strings.Contains(n.NS.Run("ip", "route"), "100.64.") {
		t.Fatal("there is no route of ours: this test shows nothing")
	}
	if err := checkIn(n); err != nil {
		t.Errorf("the agent would not start again: %v", err)
	}
}

func TestForeignRoutesAndAddressesCollide(t *testing.T) {
	for name, tc := range map[string]struct{ address, want string }{
		"beside":            {"100.97.0.1/24", ""},
		"network of pods":   {"100.70.0.1/24", "--pod-cidr 100.64.0.0/11 overlaps a route of this machine, 100.70.0.0/24"},
		"address of pods":   {"100.70.0.1/32", "--pod-cidr 100.64.0.0/11 overlaps an address of this machine, 100.70.0.1/32"},
		"network of vips":   {"100.96.7.1/24", "--service-cidr 100.96.0.0/16 overlaps a route of this machine, 100.96.7.0/24"},
		"network around it": {"100.64.0.1/10", "--service-cidr 100.96.0.0/16 overlaps a route of this machine, 100.64.0.0/10"},
	} {
		t.Run(name, func(t *testing.T) {
			n := alone(t)
			n.NS.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
			n.NS.Run("ip", "addr", "add", tc.address, "dev", "eth0")
			n.NS.Run("ip", "link", "set", "eth0", "up")
			err := checkIn(n)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// A VPN that routes everything, in two halves, says nothing about who has an address.
func TestTwoHalvesAreADefaultRoute(t *testing.T) {
	n := alone(t)
	n.NS.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	n.NS.Run("ip", "addr", "add", "10.1.0.1/24", "dev", "eth0")
	n.NS.Run("ip", "link", "set", "eth0", "up")
	for _, half := range []string{"0.0.0.0/1", "128.0.0.0/1"} {
		n.NS.Run("ip", "route", "add", half, "via", "10.1.0.2")
	}
	if err := checkIn(n); err != nil {
		t.Error(err)
	}
}
