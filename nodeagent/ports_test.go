package nodeagent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

// Ports of a real network namespace: of sockets, and of rules as kube-proxy and portmap make them.
func TestTakenPorts(t *testing.T) {
	ns := nettest.New(t, "node")
	ns.Run("ip", "addr", "add", "10.0.0.1/32", "dev", "lo")
	ns.Run("ip", "link", "set", "lo", "up")
	var tables, other *iptables.Exec
	var err error
	ns.Do(func() { tables, other, err = iptables.Find(t.Context(), iptables.Auto) })
	if err != nil || other == nil {
		t.Fatal(err, other)
	}
	look := func() (taken hostports.Taken) {
		ns.Do(func() { taken, err = takenPorts(t.Context(), tables, other, nil) })
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	if taken := look(); len(taken) != 0 {
		t.Fatalf("taken at first: %v", taken)
	}
	ns.Serve("any", ":9000")
	ns.Serve("one", "10.0.0.1:9001")
	ns.Serve("loopback", "127.0.0.1:9002")
	for chain, rule := range map[string][]string{
		"CNI-HOSTPORT-DNAT": {"-p", "tcp", "-m", "multiport", "--dports", "8080,8443"},
		"KUBE-NODEPORTS":    {"-p", "udp", "-m", "udp", "--dport", "30053"},
	} {
		program := "iptables-nft"
		if chain == "KUBE-NODEPORTS" { // of a kube-proxy that has the other kind
			program = "iptables-legacy"
		}
		ns.Run(program, "-t", "nat", "-N", chain)
		ns.Run(program, append([]string{"-t", "nat", "-A", chain}, append(rule, "-j", "RETURN")...)...)
	}
	const program = "a program of the node"
	want := hostports.Taken{
		{Protocol: "tcp", Number: 9000}: program, {Protocol: "udp", Number: 9000}: program,
		{Protocol: "tcp", Number: 9001}: program, {Protocol: "udp", Number: 9001}: program,
		{Protocol: "tcp", Number: 8080}: "a host port of a native Pod", {Protocol: "tcp", Number: 8443}: "a host port of a native Pod",
		{Protocol: "udp", Number: 30053}: "a node port of a native Service",
	}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
