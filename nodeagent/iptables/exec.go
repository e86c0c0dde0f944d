package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
)

// lockSeconds is how long the programs wait for others to be done with the tables.
const lockSeconds = 30

// baseChains are the kernel's chains, by table, where jumps of ours can be.
var baseChains = map[string][]string{
	Raw:    {"PREROUTING", "OUTPUT"},
	NAT:    {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"},
	Filter: {"INPUT", "FORWARD", "OUTPUT"},
}

// Programs are the names or paths of the programs to use.
type Programs struct {
	// IPTables is "iptables" if empty, Restore "iptables-restore".
	IPTables, Restore string
}

// Exec is Tables by the real programs.
type Exec struct {
	restore string
	legacy  bool
	ipt     *goiptables.IPTables
}

var _ Tables = (*Exec)(nil)

// New finds the programs. An error says which is missing.
func New(programs Programs) (*Exec, error) {
	if programs.IPTables == "" {
		programs.IPTables = "iptables"
	}
	if programs.Restore == "" {
		programs.Restore = "iptables-restore"
	}
	path, err := exec.LookPath(programs.IPTables)
	if err != nil {
		return nil, fmt.Errorf("iptables: the program is missing on this node: %w", err)
	}
	restore, err := exec.LookPath(programs.Restore)
	if err != nil {
		return nil, fmt.Errorf("iptables: the program is missing on this node: %w", err)
	}
	ipt, err := goiptables.New(goiptables.Path(path), goiptables.Timeout(lockSeconds))
	if err != nil {
		return nil, fmt.Errorf("iptables: %w", err)
	}
	version, err := exec.Command(restore, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("iptables: %s --version: %w", restore, err)
	}
	return &Exec{restore: restore, legacy: !bytes.Contains(version, []byte("nf_tables")), ipt: ipt}, nil
}

// BatchSize implements Tables. The legacy programs write a table as a whole however little changes. Those of nf_tables
// look up the target of each jump among all that they have failed to find as an extension, so that their time grows with
// the square of the number of targets.
func (e *Exec) BatchSize() int {
	const nfTables = 1000
	if e.legacy {
		return math.MaxInt
	}
	return nfTables
}

// Restore implements Tables.
func (e *Exec) Restore(ctx context.Context, input []byte) error {
	cmd := exec.CommandContext(ctx, e.restore, "--noflush", "-w", strconv.Itoa(lockSeconds))
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s%s", err, strings.TrimSpace(stderr.String()), culprit(input, stderr.String()))
	}
	return nil
}

// culprit quotes the line of the input that the program complains about, if it says which.
func culprit(input []byte, complaint string) string {
	_, after, ok := strings.Cut(complaint, "line")
	if !ok {
		return ""
	}
	digits := strings.TrimLeft(after, ": ")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(digits)
	}
	n, err := strconv.Atoi(digits[:end])
	lines := bytes.Split(input, []byte("\n"))
	if err != nil || n < 1 || n > len(lines) {
		return ""
	}
	return fmt.Sprintf(" (line %d is %q)", n, lines[n-1])
}

// EnsureFirst implements Tables.
func (e *Exec) EnsureFirst(_ context.Context, rules []Rule) error {
	for _, r := range rules {
		if err := e.ipt.InsertUnique(r.Table, r.Chain, 1, strings.Fields(r.Spec)...); err != nil {
			return fmt.Errorf("iptables: inserting %q into %s of %s: %w", r.Spec, r.Chain, r.Table, err)
		}
	}
	return nil
}

// EnsureLast implements Tables. A rule that is to move stands twice for a moment, so that there is no gap.
func (e *Exec) EnsureLast(_ context.Context, rules []Rule) error {
	for _, r := range rules {
		words := strings.Fields(r.Spec)
		there, err := e.ipt.List(r.Table, r.Chain)
		if err != nil {
			return fmt.Errorf("iptables: listing %s of %s: %w", r.Chain, r.Table, err)
		}
		line := "-A " + r.Chain + " " + r.Spec
		if len(there) > 0 && there[len(there)-1] == line {
			continue
		}
		if err := e.ipt.Append(r.Table, r.Chain, words...); err != nil {
			return fmt.Errorf("iptables: appending %q to %s of %s: %w", r.Spec, r.Chain, r.Table, err)
		}
		for _, rule := range there {
			if rule != line {
				continue
			}
			if err := e.ipt.Delete(r.Table, r.Chain, words...); err != nil { // the first of them
				return fmt.Errorf("iptables: moving %q of %s to its end: %w", r.Spec, r.Chain, err)
			}
		}
	}
	return nil
}

// Understands tells whether the programs and the kernel know everything in a rule, by writing it into a chain of its own.
func (e *Exec) Understands(ctx context.Context, table, rule string) bool {
	const chain = Prefix + "TRY"
	err := e.Restore(ctx, fmt.Appendf(nil, "*%s\n:%s - [0:0]\n-A %s %s\nCOMMIT\n", table, chain, chain, rule))
	return err == nil && e.Restore(ctx, Removal(table, []string{chain})) == nil
}

// Intact implements Tables: iptables-restore takes commands that check, too, so that one process checks them all.
func (e *Exec) Intact(ctx context.Context, rules []Rule) (bool, error) {
	const absent, noChain = 1, 2 // exit codes for a rule and for a jump's chain that are not there
	var input bytes.Buffer
	for _, table := range AllTables {
		fmt.Fprintf(&input, "*%s\n", table)
		for _, r := range rules {
			if r.Table == table {
				fmt.Fprintf(&input, "-C %s %s\n", r.Chain, r.Spec)
			}
		}
		input.WriteString("COMMIT\n")
	}
	err := e.Restore(ctx, input.Bytes())
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == absent || exit.ExitCode() == noChain) {
		return false, nil
	}
	return err == nil, err
}

// Chains implements Tables.
func (e *Exec) Chains(_ context.Context, table string) ([]string, error) {
	if there, err := e.has(table); err != nil || !there {
		return nil, err
	}
	chains, err := e.ipt.ListChains(table)
	if err != nil {
		return nil, fmt.Errorf("iptables: listing the chains of %s: %w", table, err)
	}
	return slices.DeleteFunc(chains, func(name string) bool { return !strings.HasPrefix(name, Prefix) }), nil
}

// Others lists the rules of a chain of somebody else; none where there is no such chain.
func (e *Exec) Others(_ context.Context, table, chain string) ([]string, error) {
	if there, err := e.has(table); err != nil || !there {
		return nil, err
	}
	there, err := e.ipt.ChainExists(table, chain)
	if err != nil || !there {
		return nil, err
	}
	rules, err := e.ipt.List(table, chain)
	if err != nil {
		return nil, fmt.Errorf("iptables: listing %s of %s: %w", chain, table, err)
	}
	return rules, nil
}

// Cleanup implements Tables.
func (e *Exec) Cleanup(ctx context.Context) error {
	for _, table := range AllTables {
		if there, err := e.has(table); err != nil {
			return err
		} else if !there {
			continue
		}
		chains, err := e.Chains(ctx, table)
		if err != nil {
			return err
		}
		if err := e.deleteJumps(table); err != nil {
			return err
		}
		if len(chains) == 0 {
			continue
		}
		if err := e.Restore(ctx, Removal(table, chains)); err != nil {
			return err
		}
	}
	return nil
}

// deleteJumps deletes the rules of the kernel's chains that lead to chains of ours.
func (e *Exec) deleteJumps(table string) error {
	for _, base := range baseChains[table] {
		rules, err := e.ipt.List(table, base)
		if err != nil {
			return fmt.Errorf("iptables: listing %s of %s: %w", base, table, err)
		}
		for _, rule := range rules {
			words := strings.Fields(rule)
			if len(words) < 3 || words[0] != "-A" || !leadsToOurs(words) {
				continue
			}
			if err := e.ipt.Delete(table, base, words[2:]...); err != nil {
				return fmt.Errorf("iptables: deleting %q of %s: %w", rule, table, err)
			}
		}
	}
	return nil
}

func leadsToOurs(words []string) bool {
	for i, word := range words[:len(words)-1] {
		if (word == "-j" || word == "-g") && strings.HasPrefix(words[i+1], Prefix) {
			return true
		}
	}
	return false
}

// Removal is the input for Restore that removes chains, empty or not. Nothing but they themselves may lead to them.
func Removal(table string, chains []string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "*%s\n", table)
	for _, chain := range chains {
		fmt.Fprintf(&out, ":%s - [0:0]\n", chain)
	}
	for _, chain := range chains {
		fmt.Fprintf(&out, "-X %s\n", chain)
	}
	out.WriteString("COMMIT\n")
	return out.Bytes()
}
