// Package iptables is the edge to the kernel's packet filter, as seen through the programs iptables and iptables-restore,
// so that it works with both of their backends (nf_tables and legacy) and shows up where administrators look. Of the two it uses
// the one that the node uses (see Find).
//
// All of our rules are in chains whose names begin with MINI-. In the kernel's own chains there is nothing of ours but
// jumps to those. Rules in bulk go through one iptables-restore --noflush per batch, which replaces exactly the chains
// that it names, all at once per table; the library that drives iptables itself has no such call and does the rest: the
// jumps and the clean-up.
//
// What makes it hard is that the filter belongs to everybody: any administrator may flush it, and the kernel tells
// nobody. Intact finds that out at the price of one process.
package iptables

import "context"

// Prefix begins the name of every chain of ours.
const Prefix = "MINI-"

// Tables that have chains of ours.
const (
	Raw    = "raw"
	NAT    = "nat"
	Filter = "filter"
)

// AllTables are those, in the order in which a packet passes them.
var AllTables = []string{Raw, NAT, Filter}

// Rule is one rule of a chain. Spec is what follows the chain's name in the language of iptables, without quotes.
type Rule struct {
	Table, Chain, Spec string
}

// Tables are the tables of the network namespace in which the methods are called.
type Tables interface {
	// Restore applies input in the language of iptables-restore, without touching chains that it does not name. Each table
	// changes at once or, with an error, not at all.
	Restore(ctx context.Context, input []byte) error
	// BatchSize is how many chains one Restore should be given at most, because it would take too long with more.
	BatchSize() int
	// EnsureFirst puts each rule in front of its chain's others unless it is somewhere in the chain already.
	EnsureFirst(ctx context.Context, rules []Rule) error
	// EnsureLast puts each rule behind its chain's others, wherever in the chain it was.
	EnsureLast(ctx context.Context, rules []Rule) error
	// Intact tells whether all of the rules are there.
	Intact(ctx context.Context, rules []Rule) (bool, error)
	// Chains lists the chains of ours in a table.
	Chains(ctx context.Context, table string) ([]string, error)
	// Cleanup removes all chains of ours, and all rules that lead to them, and nothing else.
	Cleanup(ctx context.Context) error
}
