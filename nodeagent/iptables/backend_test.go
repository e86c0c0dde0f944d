package iptables_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

func TestSightOf(t *testing.T) {
	for saved, want := range map[string]iptables.Sight{
		"": {},
		"*filter\n:FORWARD DROP [0:0]\n:KUBE-FORWARD - [0:0]\n-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n" +
			"-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n": {Rules: 2},
		"*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n":                       {Kubelet: true},
		"*mangle\n:KUBE-KUBELET-CANARY - [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n": {Kubelet: true, Rules: 1},
		// Nobody's but ours, which say nothing of what the node uses.
		"*nat\n:MINI-A - [0:0]\n-A PREROUTING -j MINI-A\n-A MINI-A -d 192.0.2.1/32 -g MINI-B\n-A MINI-A -j RETURN\nCOMMIT\n": {},
	} {
		if diff := cmp.Diff(want, iptables.SightOf([]byte(saved))); diff != "" {
			t.Errorf("%q: (-want +got):\n%s", saved, diff)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, try := range []struct {
		what        string
		nft, legacy iptables.Sight
		want        iptables.Backend
	}{
		{"a new node", iptables.Sight{}, iptables.Sight{}, iptables.NFTables},
		{"a kubelet with nft", iptables.Sight{Kubelet: true}, iptables.Sight{Rules: 100}, iptables.NFTables},
		{"a kubelet with legacy", iptables.Sight{Rules: 100}, iptables.Sight{Kubelet: true}, iptables.Legacy},
		{"a kubelet that changed over", iptables.Sight{Kubelet: true}, iptables.Sight{Kubelet: true}, iptables.NFTables},
		{"docker with legacy", iptables.Sight{Rules: 1}, iptables.Sight{Rules: 7}, iptables.Legacy},
		{"as many of both", iptables.Sight{Rules: 7}, iptables.Sight{Rules: 7}, iptables.NFTables},
	} {
		if got := iptables.Choose(try.nft, try.legacy); got != try.want {
			t.Errorf("%s: %s, want %s", try.what, got, try.want)
		}
	}
}

func legacyTables(ns *nettest.NS) string {
	return strings.Join(strings.Fields(ns.Run("cat", "/proc/self/net/ip_tables_names")), " ")
}

// The kind of a real network namespace's tables. Looking makes no tables, which the kernel would keep and packets would pass.
func TestFind(t *testing.T) {
	ns := nettest.New(t, "node")
	find := func(want iptables.Backend) (tables, other *iptables.Exec) {
		t.Helper()
		var err error
		ns.Do(func() { tables, other, err = iptables.Find(t.Context(), want) })
		if err != nil {
			t.Fatal(err)
		}
		if tables.Backend() == other.Backend() {
			t.Errorf("%s: both are %s", want, other.Backend())
		}
		return tables, other
	}
	is := func(when string, want iptables.Backend) {
		t.Helper()
		if tables, _ := find(iptables.Auto); tables.Backend() != want {
			t.Errorf("%s: %s, want %s", when, tables.Backend(), want)
		}
	}
	is("with nothing", iptables.NFTables)
	_, legacy := find(iptables.Auto)
	ns.Do(func() {
		if chains, err := legacy.Chains(t.Context(), iptables.NAT); err != nil || chains != nil {
			t.Errorf("chains %v, %v", chains, err)
		}
		if rules, err := legacy.Others(t.Context(), iptables.NAT, "KUBE-NODEPORTS"); err != nil || rules != nil {
			t.Errorf("rules %v, %v", rules, err)
		}
		if err := legacy.Cleanup(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if made := legacyTables(ns); made != "" {
		t.Errorf("looking made the tables %s", made)
	}
	ns.Run("iptables-legacy", "-A", "FORWARD", "-s", "192.0.2.1", "-j", "ACCEPT")
	is("with a rule in legacy", iptables.Legacy)
	tables, _ := find(iptables.NFTables)
	ns.Do(func() { restore(t, tables, twoChains) })
	is("with rules of ours in nft", iptables.Legacy)
	ns.Run("iptables-nft", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
	is("with a kubelet that uses nft", iptables.NFTables)
	if tables, _ := find(iptables.Legacy); tables.Backend() != iptables.Legacy {
		t.Errorf("asked for legacy, got %s", tables.Backend())
	}
}

// A machine may have one kind only, or call the only one iptables.
func TestFindWithoutPrograms(t *testing.T) {
	ns := nettest.New(t, "node")
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	find := func(want iptables.Backend) (string, bool, error) {
		var tables, other *iptables.Exec
		var err error
		ns.Do(func() { tables, other, err = iptables.Find(t.Context(), want) })
		if err != nil {
			return "", false, err
		}
		return string(tables.Backend()), other != nil, nil
	}
	link := func(names ...string) {
		for _, name := range names {
			if err := os.Symlink(filepath.Join("/usr/sbin", name), filepath.Join(bin, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kind, _, err := find(iptables.Auto); err == nil {
		t.Errorf("found %s without programs", kind)
	}
	link("iptables", "iptables-restore")
	if kind, other, err := find(iptables.Auto); kind == "" || other || err != nil {
		t.Errorf("found %q, other %t, %v by the plain name", kind, other, err)
	}
	link("iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore")
	if kind, other, err := find(iptables.Auto); kind != "legacy" || other || err != nil {
		t.Errorf("found %q, other %t, %v where there is legacy only", kind, other, err)
	}
	if kind, _, err := find(iptables.NFTables); err == nil || !strings.Contains(err.Error(), "iptables-nft") {
		t.Errorf("found %q, %v where nft is asked for and is not there", kind, err)
	}
}
