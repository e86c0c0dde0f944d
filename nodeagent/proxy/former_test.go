package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/iptables/fake"
)

// A new agent that uses the other kind of iptables leads connections as the earlier one did, those that are open too, and only then removes
// the earlier one's rules.
func TestOfTheOtherKindNothingStays(t *testing.T) {
	eachBackend(t, func(t *testing.T, programs iptables.Programs) {
		c := newTwoNodes(t, programs)
		c.service(t, "a", "100.96.0.1", 30080, false, 1)
		node := c.nodes[0]
		node.Run(programs.IPTables, "-A", "FORWARD", "-s", "192.0.2.1", "-j", "ACCEPT") // somebody else's
		pod := c.pods[0]
		asks(t, pod, "tcp", "100.96.0.1:80")

		var former iptables.Tables
		for _, other := range backends {
			if other != programs {
				former = node.proxy.opts.Tables
				node.programs = other
			}
		}
		before := node.proxy.state
		node.restart()
		node.proxy.opts.Former = former
		for name, service := range before.services {
			node.proxy.SetService(service)
			for _, slice := range before.slices[name] {
				node.proxy.SetEndpointSlice(slice)
			}
		}
		node.sync()
		if left := node.Run(programs.IPTables + "-save"); strings.Contains(left, iptables.Prefix) || !strings.Contains(left, "192.0.2.1") {
			t.Errorf("left:\n%s", left)
		}
		if servers, _ := asks(t, pod, "tcp", "100.96.0.1:80"); !servers["pod1"] {
			t.Errorf("answered: %v", servers)
		}
		if servers, _ := asks(t, c.outside, "tcp", "10.0.0.1:30080"); !servers["pod1"] {
			t.Errorf("answered from outside: %v", servers)
		}
	})
}

// unclean are tables that cannot be cleaned at first.
type unclean struct {
	fake.Tables
	tries int
}

func (u *unclean) Cleanup(context.Context) error {
	if u.tries++; u.tries == 1 {
		return errors.New("no")
	}
	return nil
}

// Rules of the earlier agent that cannot be removed are no reason to serve nobody, nor to write everything again and again.
func TestFormerTablesThatCannotBeCleaned(t *testing.T) {
	former := &unclean{}
	p := New(Options{Config: testConfig, Tables: &fake.Tables{}, Former: former, Flows: &flows{}, Log: logr.Discard()})
	for i, tries := range []int{1, 1, 2, 2} {
		p.rewrite = p.rewrite || i >= 2 // as it is each hour
		mustSync(t, p)
		if former.tries != tries {
			t.Errorf("pass %d: tried %d times, want %d", i, former.tries, tries)
		}
	}
}
