package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Backend is a kind of iptables. Each has tables of its own in the kernel, and packets pass both: what one refuses is refused, whatever the
// other accepts. So the agent must use the one that the node uses: what others' rules let through, and which rules come
// first, is only decided among rules of one kind.
type Backend string

// Backends. Auto is the one that the node uses.
const (
	Auto     Backend = "auto"
	NFTables Backend = "nft"
	Legacy   Backend = "legacy"
)

// Programs are those of one kind.
func (b Backend) Programs() Programs {
	return Programs{IPTables: "iptables-" + string(b), Restore: "iptables-" + string(b) + "-restore"}
}

// Sight is what stands in the tables of one kind.
type Sight struct {
	// Kubelet tells that the kubelet's chains are there. It makes them for that: with the node's own iptables, so that others
	// may know which that is.
	Kubelet bool
	// Rules is how many there are of others.
	Rules int
}

// kubeletChains are of the table mangle. The second is also there for the kubelet to see when somebody flushes the tables.
var kubeletChains = []string{":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY "}

// SightOf reads what iptables-save prints.
func SightOf(saved []byte) Sight {
	var s Sight
	for line := range bytes.Lines(saved) {
		text := string(line)
		switch {
		case slices.ContainsFunc(kubeletChains, func(chain string) bool { return strings.HasPrefix(text, chain) }):
			s.Kubelet = true
		case strings.HasPrefix(text, "-A ") && !ours(text):
			s.Rules++
		}
	}
	return s
}

// ours tells of a rule that is in a chain of ours, or leads to one. It says nothing of what others use.
func ours(rule string) bool {
	words := strings.Fields(rule)
	return len(words) > 1 && (strings.HasPrefix(words[1], Prefix) || leadsToOurs(words))
}

// Choose says which kind a node uses: the kubelet's, or else the one that others have more rules in. New nodes have nf_tables.
func Choose(nft, legacy Sight) Backend {
	switch {
	case nft.Kubelet:
		return NFTables
	case legacy.Kubelet, legacy.Rules > nft.Rules:
		return Legacy
	}
	return NFTables
}

// Find opens the tables of a kind, and those of the other kind, where its programs are there and work; nil if not. Nothing is made in the
// kernel by looking.
func Find(ctx context.Context, want Backend) (tables, other *Exec, err error) {
	nft, legacy := open(ctx, NFTables), open(ctx, Legacy)
	if want == Auto {
		want = NFTables
		if !nft.works() || legacy.works() && Choose(nft.sight, legacy.sight) == Legacy {
			want = Legacy
		}
		if !nft.works() && !legacy.works() { // a machine with one kind only may call it just iptables
			tables, err = New(Programs{})
			return tables, nil, err
		}
	}
	if want == Legacy {
		return legacy.tables, nft.tables, legacy.err
	}
	return nft.tables, legacy.tables, nft.err
}

// opened is one kind of tables and what is in them; or why it is not there.
type opened struct {
	tables *Exec
	sight  Sight
	err    error
}

func (o opened) works() bool { return o.err == nil }

func open(ctx context.Context, b Backend) opened {
	tables, err := New(b.Programs())
	if err != nil {
		return opened{err: err}
	}
	program := b.Programs().IPTables + "-save"
	saved, err := exec.CommandContext(ctx, program).Output()
	if err != nil {
		return opened{err: fmt.Errorf("iptables: %s: %w", program, err)}
	}
	return opened{tables: tables, sight: SightOf(saved)}
}

// Backend is the kind of these tables.
func (e *Exec) Backend() Backend {
	if e.legacy {
		return Legacy
	}
	return NFTables
}

// legacyTables lists the tables of the older kind that the network namespace of whoever reads has.
const legacyTables = "/proc/thread-self/net/ip_tables_names"

// has tells whether a table is there. One of the older kind would be made by looking into it, and stays then.
func (e *Exec) has(table string) (bool, error) {
	if !e.legacy {
		return true, nil
	}
	names, err := os.ReadFile(legacyTables)
	if errors.Is(err, os.ErrNotExist) { // the kernel has none of that kind
		return false, nil
	}
	return slices.Contains(strings.Fields(string(names)), table), err
}
