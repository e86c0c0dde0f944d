package fake

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// Kernel is what decides about packets besides the rules.
type Kernel struct {
	Tables *Tables
	// Local are the node's own addresses.
	Local []netip.Addr
	// Now is the time, for affinity.
	Now time.Time
	// Random decides for -m statistic.
	Random *rand.Rand
	// Link is the link that leads to an address; nil if all are behind eth0.
	Link func(netip.Addr) string

	recent map[string]map[netip.Addr]time.Time
}

// Packet is the first packet of a connection.
type Packet struct {
	Protocol string
	Src      netip.Addr
	Dst      netip.AddrPort
	// FromHost is a packet that a program on the node sends.
	FromHost bool
	// In is the link that it comes from; empty for the one that leads to its source.
	In string
}

// Verdict is what became of a packet.
type Verdict struct {
	// Refused and Dropped packets go no further.
	Refused, Dropped bool
	// Dst is where it went, and Masqueraded whether as if from the node.
	Dst         netip.AddrPort
	Masqueraded bool
	// Rules is how many rules it passed in chains of ours on the way to its destination.
	Rules int
}

// walk is a packet under way.
type walk struct {
	*Kernel
	Packet
	orig    netip.AddrPort
	table   table
	out     string
	verdict Verdict
}

func (k *Kernel) link(addr netip.Addr) string {
	if k.Link == nil {
		return "eth0"
	}
	return k.Link(addr)
}

// matchLink evaluates matches of links.
func (w *walk) matchLink(words []string) (taken int, ok bool) {
	switch words[0] {
	case "-i":
		return 1, linkIs(w.In, words[1])
	case "-o":
		return 1, linkIs(w.out, words[1])
	case "--invert": // of rpfilter
		return 0, w.In != w.link(w.Src)
	}
	panic(fmt.Sprintf("the tracer does not know %q", words[0]))
}

// linkIs compares a link's name with a pattern.
func linkIs(name, pattern string) bool {
	if prefix, open := strings.CutSuffix(pattern, "+"); open {
		return strings.HasPrefix(name, prefix)
	}
	return name == pattern
}

// Send walks a packet through the rules, as the kernel would.
func (k *Kernel) Send(p Packet) Verdict {
	k.Tables.mu.Lock()
	defer k.Tables.mu.Unlock()
	w := &walk{Kernel: k, Packet: p, orig: p.Dst}
	in := "PREROUTING"
	if p.FromHost {
		in = "OUTPUT"
	} else if p.In == "" {
		w.In = k.link(p.Src)
	}
	for _, table := range []string{iptables.Raw, iptables.NAT} {
		w.table = k.Tables.tables[table]
		w.chain(in)
		w.verdict.Dst = w.Dst
		if w.verdict.Dropped {
			return w.verdict
		}
	}
	w.out = k.link(w.Dst.Addr())
	w.table = k.Tables.tables[iptables.Filter]
	local := slices.Contains(k.Local, w.Dst.Addr())
	for _, chain := range filterPath(p.FromHost, local) {
		if w.chain(chain) == end && (w.verdict.Refused || w.verdict.Dropped) {
			return w.verdict
		}
	}
	w.table = k.Tables.tables[iptables.NAT]
	if !local {
		w.chain("POSTROUTING")
	}
	return w.verdict
}

func filterPath(fromHost, local bool) (out []string) {
	switch {
	case fromHost && local:
		return []string{"OUTPUT", "INPUT"}
	case fromHost:
		return []string{"OUTPUT"}
	case local:
		return []string{"INPUT"}
	}
	return []string{"FORWARD"}
}

// next says how to go on after a chain or rule.
type next int

const (
	goOn next = iota // with the next rule
	back             // to the calling chain
	end              // decided
)

func (w *walk) chain(name string) next {
	rules, ok := w.table[name]
	if !ok {
		panic("no chain " + name)
	}
	for _, rule := range rules {
		w.verdict.Rules++
		switch w.rule(strings.Fields(rule)) {
		case end:
			return end
		case back:
			return goOn
		}
	}
	return goOn
}

// rule evaluates the words of one rule from left to right.
func (w *walk) rule(words []string) next {
	not := false
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "!" {
			not = true
			continue
		}
		if word == "-j" || word == "-g" {
			return w.target(word == "-g", words[i+1], words[i+2:])
		}
		n, ok := w.match(words[i:])
		i += n
		if ok == not {
			return goOn
		}
		not = false
	}
	return goOn
}

// match evaluates one match, and tells how many words beyond the first it took.
func (w *walk) match(words []string) (taken int, ok bool) {
	switch words[0] {
	case "-s":
		return 1, netip.MustParsePrefix(words[1]).Contains(w.Src)
	case "-d":
		return 1, netip.MustParsePrefix(words[1]).Contains(w.Dst.Addr())
	case "-p":
		return 1, words[1] == w.Protocol
	case "--dport":
		return 1, portIn(words[1], w.Dst.Port())
	case "--dst-type":
		return 1, slices.Contains(w.Local, w.Dst.Addr())
	case "--ctstate":
		return 1, words[1] == "NEW" || words[1] == "DNAT" && w.orig != w.Dst
	case "--ctorigdst":
		return 1, netip.MustParsePrefix(words[1]).Contains(w.orig.Addr())
	case "--probability":
		p, err := strconv.ParseFloat(words[1], 64)
		return 1, err == nil && w.Random.Float64() < p
	case "-m":
		if words[1] == "recent" {
			return w.recently(words)
		}
		return 1, true
	case "--mode", "--comment":
		return 1, true
	}
	return w.matchLink(words)
}

func portIn(text string, port uint16) bool {
	low, high, ranged := strings.Cut(text, ":")
	l, _ := strconv.Atoi(low)
	h, _ := strconv.Atoi(high)
	if !ranged {
		h = l
	}
	return l <= int(port) && int(port) <= h
}

// recently is -m recent with --update and --reap, or --set.
func (w *walk) recently(words []string) (taken int, ok bool) {
	var name string
	var seconds int
	update := false
	taken = 1
	for taken+1 < len(words) && strings.HasPrefix(words[taken+1], "--") {
		taken++
		switch words[taken] {
		case "--update":
			update = true
		case "--seconds":
			taken++
			seconds, _ = strconv.Atoi(words[taken])
		case "--name":
			taken++
			name = words[taken]
		}
	}
	if w.recent == nil {
		w.recent = map[string]map[netip.Addr]time.Time{}
	}
	list := w.recent[name]
	if seen, known := list[w.Src]; update && (!known || w.Now.Sub(seen) > time.Duration(seconds)*time.Second) {
		return taken, false
	}
	if list == nil {
		list = map[netip.Addr]time.Time{}
		w.recent[name] = list
	}
	list[w.Src] = w.Now
	return taken, true
}

func (w *walk) target(isGoto bool, name string, rest []string) next {
	switch name {
	case "RETURN":
		return back
	case "ACCEPT":
		return end
	case "DROP":
		w.verdict.Dropped = true
		return end
	case "REJECT":
		w.verdict.Refused = true
		return end
	case "MASQUERADE":
		w.verdict.Masqueraded = true
		return end
	case "DNAT":
		w.Dst = netip.MustParseAddrPort(rest[1])
		return end
	}
	then := w.chain(name)
	if then == goOn && isGoto {
		return back
	}
	return then
}
