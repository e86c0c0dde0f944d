// Package fake is Tables in memory: it applies input as iptables-restore would, refuses what the kernel would refuse, and
// can walk a packet through the rules.
package fake

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// Tables is the fake. The zero value has no chains but the kernel's.
type Tables struct {
	mu     sync.Mutex
	tables map[string]table
	// Fail, if set, is asked before each Restore; its error is returned and nothing done.
	Fail func(input string) error
	// Batch is the BatchSize; 0 for no limit.
	Batch int
	// Inputs are all that was given to Restore and not refused.
	Inputs []string
}

var _ iptables.Tables = (*Tables)(nil)

// table has the rules of each chain.
type table map[string][]string

var base = map[string][]string{
	iptables.Raw:    {"PREROUTING", "OUTPUT"},
	iptables.NAT:    {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
	iptables.Filter: {"INPUT", "FORWARD", "OUTPUT"},
}

func (f *Tables) init() {
	if f.tables != nil {
		return
	}
	f.tables = map[string]table{}
	for name, chains := range base {
		f.tables[name] = table{}
		for _, chain := range chains {
			f.tables[name][chain] = nil
		}
	}
}

// Given are the Inputs so far, for those who ask while others write.
func (f *Tables) Given() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.Inputs)
}

// Restore implements Tables.
func (f *Tables) Restore(_ context.Context, input []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	if f.Fail != nil {
		if err := f.Fail(string(input)); err != nil {
			return err
		}
	}
	var name string
	var work table
	lines := bufio.NewScanner(bytes.NewReader(input))
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		var err error
		switch {
		case strings.HasPrefix(line, "*"):
			name = line[1:]
			work = clone(f.tables[name])
		case line == "COMMIT":
			if err = work.check(); err == nil {
				f.tables[name], work = work, nil
			}
		case line != "" && work == nil:
			err = fmt.Errorf("outside of a table")
		case line != "":
			err = work.apply(line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %q: %w", number, line, err)
		}
	}
	if work != nil {
		return fmt.Errorf("COMMIT is missing")
	}
	f.Inputs = append(f.Inputs, string(input))
	return lines.Err()
}

func clone(t table) table {
	out := make(table, len(t))
	for chain, rules := range t {
		out[chain] = slices.Clip(rules)
	}
	return out
}

func (t table) apply(line string) error {
	words := strings.Fields(line)
	chain := strings.TrimPrefix(words[0], ":")
	if len(words) > 1 && words[0][0] == '-' {
		chain = words[1]
	}
	_, exists := t[chain]
	switch {
	case strings.HasPrefix(line, ":"):
		if len(chain) > 28 {
			return fmt.Errorf("the name %s is longer than 28 characters", chain)
		}
		t[chain] = nil
	case !exists:
		return fmt.Errorf("no chain %s", chain)
	case words[0] == "-A":
		t[chain] = append(t[chain], strings.Join(words[2:], " "))
	case words[0] == "-X" && len(t[chain]) > 0:
		return fmt.Errorf("%s is not empty", chain)
	case words[0] == "-X":
		delete(t, chain)
	default:
		return fmt.Errorf("not understood")
	}
	return nil
}

// check that all jumps lead somewhere and none in a circle.
func (t table) check() error {
	done := map[string]bool{}
	var visit func(chain string, above []string) error
	visit = func(chain string, above []string) error {
		if slices.Contains(above, chain) {
			return fmt.Errorf("%s leads to itself", chain)
		}
		if done[chain] {
			return nil
		}
		for _, rule := range t[chain] {
			to := target(rule)
			if !strings.HasPrefix(to, iptables.Prefix) {
				continue
			}
			if _, ok := t[to]; !ok {
				return fmt.Errorf("%s leads to %s, which is not there", chain, to)
			}
			if err := visit(to, append(above, chain)); err != nil {
				return err
			}
		}
		done[chain] = true
		return nil
	}
	for chain := range t {
		if err := visit(chain, nil); err != nil {
			return err
		}
	}
	return nil
}

func target(rule string) string {
	words := strings.Fields(rule)
	for i, word := range words[:len(words)-1] {
		if word == "-j" || word == "-g" {
			return words[i+1]
		}
	}
	return ""
}

// BatchSize implements Tables.
func (f *Tables) BatchSize() int {
	if f.Batch == 0 {
		return math.MaxInt
	}
	return f.Batch
}

// EnsureFirst implements Tables.
func (f *Tables) EnsureFirst(_ context.Context, rules []iptables.Rule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	for _, r := range rules {
		if !slices.Contains(f.tables[r.Table][r.Chain], r.Spec) {
			f.tables[r.Table][r.Chain] = append([]string{r.Spec}, f.tables[r.Table][r.Chain]...)
		}
	}
	return nil
}

// EnsureLast implements Tables.
func (f *Tables) EnsureLast(_ context.Context, rules []iptables.Rule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	for _, r := range rules {
		others := slices.DeleteFunc(slices.Clone(f.tables[r.Table][r.Chain]), func(rule string) bool { return rule == r.Spec })
		f.tables[r.Table][r.Chain] = append(others, r.Spec)
	}
	return nil
}

// Append puts a rule of somebody else's at the end of a chain.
func (f *Tables) Append(r iptables.Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	f.tables[r.Table][r.Chain] = append(f.tables[r.Table][r.Chain], r.Spec)
}

// Intact implements Tables.
func (f *Tables) Intact(_ context.Context, rules []iptables.Rule) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	for _, r := range rules {
		if !slices.Contains(f.tables[r.Table][r.Chain], r.Spec) {
			return false, nil
		}
	}
	return true, nil
}

// Chains implements Tables.
func (f *Tables) Chains(_ context.Context, name string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	chains := slices.Sorted(maps.Keys(f.tables[name]))
	return slices.DeleteFunc(chains, func(c string) bool { return !strings.HasPrefix(c, iptables.Prefix) }), nil
}

// Cleanup implements Tables.
func (f *Tables) Cleanup(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	for _, t := range f.tables {
		for chain, rules := range t {
			if strings.HasPrefix(chain, iptables.Prefix) {
				delete(t, chain)
				continue
			}
			t[chain] = slices.DeleteFunc(rules, func(r string) bool { return strings.HasPrefix(target(r), iptables.Prefix) })
		}
	}
	return nil
}

// Flush empties all chains of a table, as an administrator may.
func (f *Tables) Flush(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	for chain := range f.tables[name] {
		f.tables[name][chain] = nil
	}
}

// Dump is everything, in order, as iptables-save would print it.
func (f *Tables) Dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.init()
	var out strings.Builder
	for _, name := range iptables.AllTables {
		fmt.Fprintf(&out, "*%s\n", name)
		for _, chain := range slices.Sorted(maps.Keys(f.tables[name])) {
			fmt.Fprintf(&out, ":%s\n", chain)
			for _, rule := range f.tables[name][chain] {
				fmt.Fprintf(&out, "  %s\n", rule)
			}
		}
	}
	return out.String()
}
