package iptables_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/iptables/fake"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

// onEach runs the same test on the fake and on both kinds of real programs, each with tables of its own.
func onEach(t *testing.T, test func(t *testing.T, tables iptables.Tables)) {
	t.Run("fake", func(t *testing.T) { test(t, &fake.Tables{}) })
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			ns := nettest.New(t, "node")
			programs := iptables.Programs{IPTables: "iptables-" + kind, Restore: "iptables-" + kind + "-restore"}
			tables, err := iptables.New(programs)
			if err != nil {
				t.Skip(err)
			}
			ns.Do(func() { test(t, tables) })
		})
	}
}

const twoChains = `*nat
:MINI-A - [0:0]
:MINI-B - [0:0]
-A MINI-A -d 192.0.2.0/24 -j MINI-B
-A MINI-B -p tcp -m tcp --dport 80 -j RETURN
COMMIT
*filter
:MINI-C - [0:0]
-A MINI-C -j RETURN
COMMIT
`

func restore(t *testing.T, tables iptables.Tables, input string) {
	t.Helper()
	if err := tables.Restore(t.Context(), []byte(input)); err != nil {
		t.Error(err)
	}
}

func wantIntact(t *testing.T, tables iptables.Tables, want bool, rules ...iptables.Rule) {
	t.Helper()
	if got, err := tables.Intact(t.Context(), rules); err != nil || got != want {
		t.Errorf("intact: want %t, got %t, %v for %v", want, got, err, rules)
	}
}

func wantChains(t *testing.T, tables iptables.Tables, table string, want ...string) {
	t.Helper()
	got, err := tables.Chains(t.Context(), table)
	if err != nil {
		t.Error(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, append([]string(nil), got...)); diff != "" {
		t.Errorf("chains of %s (-want +got):\n%s", table, diff)
	}
}

func TestConformance(t *testing.T) {
	onEach(t, func(t *testing.T, tables iptables.Tables) {
		wantChains(t, tables, "nat")
		restore(t, tables, twoChains)
		restore(t, tables, twoChains) // replaces, does not add
		wantChains(t, tables, "nat", "MINI-A", "MINI-B")
		wantChains(t, tables, "filter", "MINI-C")

		jump := iptables.Rule{Table: "nat", Chain: "PREROUTING", Spec: "-j MINI-A"}
		inA := iptables.Rule{Table: "nat", Chain: "MINI-A", Spec: "-d 192.0.2.0/24 -j MINI-B"}
		inC := iptables.Rule{Table: "filter", Chain: "MINI-C", Spec: "-j RETURN"}
		wantIntact(t, tables, true, inA, inC)
		wantIntact(t, tables, false, inA, jump, inC)
		wantIntact(t, tables, false, iptables.Rule{Table: "nat", Chain: "OUTPUT", Spec: "-j MINI-NONE"})
		for range 2 {
			if err := tables.EnsureFirst(t.Context(), []iptables.Rule{jump}); err != nil {
				t.Error(err)
			}
		}
		wantIntact(t, tables, true, inA, jump, inC)

		refused := map[string]string{
			"a jump to nowhere":   "*nat\n:MINI-D - [0:0]\n-A MINI-D -j MINI-NONE\nCOMMIT\n",
			"a rule for no chain": "*nat\n-A MINI-NONE -j RETURN\nCOMMIT\n",
			"a circle":            "*nat\n-A MINI-B -j MINI-A\nCOMMIT\n",
			"a chain in use":      "*nat\n:MINI-B - [0:0]\n-X MINI-B\nCOMMIT\n",
			"nonsense":            "*nat\n-Q MINI-A\nCOMMIT\n",
		}
		for what, input := range refused {
			if err := tables.Restore(t.Context(), []byte(input)); err == nil {
				t.Errorf("%s should be refused", what)
			}
		}
		wantIntact(t, tables, true, inA, jump, inC) // nothing happened
		wantChains(t, tables, "nat", "MINI-A", "MINI-B")

		restore(t, tables, "*nat\n:MINI-A - [0:0]\nCOMMIT\n")
		restore(t, tables, string(iptables.Removal("nat", []string{"MINI-B"})))
		wantChains(t, tables, "nat", "MINI-A")
		for range 2 {
			if err := tables.Cleanup(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wantChains(t, tables, "nat")
		wantChains(t, tables, "filter")
		wantIntact(t, tables, false, jump)
		if tables.BatchSize() < 1 {
			t.Error("a batch must have a size")
		}
	})
}

func TestErrorsQuoteTheLine(t *testing.T) {
	ns := nettest.New(t, "node")
	tables, err := iptables.New(iptables.Programs{})
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(func() {
		err = tables.Restore(t.Context(), []byte("*nat\n:MINI-A - [0:0]\n-A MINI-A -m nosuchmatch -j RETURN\nCOMMIT\n"))
	})
	if err == nil || !strings.Contains(err.Error(), "nosuchmatch -j RETURN") {
		t.Errorf("want the line quoted, got %v", err)
	}
}

func TestMissingPrograms(t *testing.T) {
	sh := filepath.Join(t.TempDir(), "iptables")
	if err := os.WriteFile(sh, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, programs := range []iptables.Programs{{IPTables: "no-such-program"}, {IPTables: sh, Restore: "no-such-program"}, {IPTables: sh, Restore: sh}} {
		if _, err := iptables.New(programs); err == nil {
			t.Errorf("%v: want an error", programs)
		}
	}
}
