package node

import (
	"strings"
	"testing"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// rulesOfOurs are those in the tables of one kind of iptables.
func (e *env) rulesOfOurs(kind iptables.Backend) int {
	e.t.Helper()
	out, err := e.ns.Try(kind.Programs().IPTables + "-save")
	if err != nil {
		e.t.Errorf("%s: %v\n%s", kind, err, out)
	}
	return strings.Count(out, "-A "+iptables.Prefix)
}

// A node's kubelet may use the older kind of iptables, which an agent of an earlier version, whose image had no such programs, did not. Its
// MiniPods are there before, during and after the change, and clean-up leaves nothing of either kind (see close).
func TestNodeWithLegacyIptables(t *testing.T) {
	e := newEnv(t, "--iptables-backend=nft")
	e.run(e.sh("before", "exec sleep 1000000"))
	before := e.shows("before", "Running")
	// A MiniPod may run before the rules of virtual IPs are there.
	e.until("the rules are nft's", func() bool { return e.rulesOfOurs(iptables.NFTables) > 0 })
	if legacy := e.rulesOfOurs(iptables.Legacy); legacy != 0 {
		t.Errorf("%d rules of legacy", legacy)
	}
	_, _ = e.ns.Try("iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT") // or it is there: IPTABLES=legacy
	e.ns.Run("iptables-legacy", "-P", "FORWARD", "DROP")                           // as docker's: only rules of the same kind let anything pass
	e.kill()
	e.flags = nil
	e.start()
	e.until("the rules are legacy's", func() bool { return e.rulesOfOurs(iptables.Legacy) > 0 && e.rulesOfOurs(iptables.NFTables) == 0 })
	e.run(e.sh("after", "exec sleep 1000000"))
	after := e.shows("after", "Running")
	if now := e.get("before"); now.Status.Restarts != 0 || now.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("what ran before noticed: %+v", now.Status)
	}
	e.run(e.sh("asks", "until ping -c1 -W1 "+after.Status.PodIP+" && ping -c1 -W1 10.90.0.2; do sleep 0.1; done; echo passed; exec sleep 1000000"))
	asks := e.shows("asks", "Running")
	e.until("packets pass", func() bool { return strings.Contains(e.logOf(asks), "passed") })
	for _, name := range []string{"before", "after", "asks"} {
		e.delete(name)
	}
	for _, name := range []string{"before", "after", "asks"} {
		e.gone(name)
	}
	e.clean()
}
