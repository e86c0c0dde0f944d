package proxy

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// A tree finds the rules of a key, an address or a port, among very many. It is a radix tree over the key's bits whose
// nodes are chains. An inner node looks at two bits and goes to one of up to four children, skipping the bits that all of
// its keys share; a leaf lists up to bucket keys. All jumps are gotos, for siblings exclude each other.
//
// Its shape depends on the keys alone and not on the order in which they came. A change copies the path to its leaf and
// touches nothing else, so that it costs the depth of the tree and writes as many chains.
type tree struct {
	root *node
	kind treeKind
}

// treeKind is what differs between trees.
type treeKind struct {
	table string
	// name of the root's chain; the others are called prefix, key in hexadecimal and number of bits.
	name, prefix string
	// match selects the keys that begin with these bits of key.
	match func(key uint32, bits int) string
	// otherwise, if not empty, is the rule for packets of no key.
	otherwise string
}

// closed ends the rules of a chain.
func (k treeKind) closed(rules []string) []string {
	if k.otherwise == "" {
		return rules
	}
	return append(rules, k.otherwise)
}

const (
	keyBits = 32
	step    = 2
	bucket  = 4
)

// entry is a key with the rules that stand for it.
type entry struct {
	key   uint32
	rules []string
}

// node is never changed once it is made. An inner node has kids, a leaf has entries. The bits of key are those that all
// keys below share if it is an inner node, and those that led to it if it is a leaf.
type node struct {
	kind    *treeKind
	key     uint32
	bits    int
	kids    [1 << step]*node
	entries []entry
	count   int
}

// slot is the place of a node in the tree: the bits that lead to it.
type slot struct {
	key  uint32
	bits int
}

func (s slot) holds(key uint32) bool { return s.bits == 0 || (s.key^key)>>(keyBits-s.bits) == 0 }

func (s slot) child(i int) slot {
	bits := s.bits + step
	return slot{s.key | uint32(i)<<(keyBits-bits), bits}
}

// index tells in which child of the slot the key is.
func (s slot) index(key uint32) int { return int(key>>(keyBits-s.bits-step)) & (1<<step - 1) }

// common is the smallest slot that holds both keys.
func common(a, b uint32) slot {
	n := bits.LeadingZeros32(a^b) / step * step
	return slot{a &^ (1<<(keyBits-n) - 1), n}
}

// set puts, replaces or, without rules, removes a key. It tells which nodes came and which went; the root is among them.
func (t *tree) set(key uint32, rules []string) (made, gone []*node) {
	e := editor{kind: &t.kind}
	if len(rules) == 0 {
		t.root = e.remove(t.root, slot{}, key)
	} else {
		t.root = e.put(t.root, slot{}, entry{key, rules})
	}
	return e.made, e.gone
}

// editor notes what an edit makes and drops.
type editor struct {
	kind       *treeKind
	made, gone []*node
}

func (e *editor) make(n node) *node {
	n.kind = e.kind
	e.made = append(e.made, &n)
	return &n
}

func (e *editor) drop(n *node) { e.gone = append(e.gone, n) }

func (n *node) slot() slot { return slot{n.key, n.bits} }

func (n *node) leaf() bool { return n.count <= bucket }

// build makes the nodes for sorted entries at a slot.
func (e *editor) build(at slot, entries []entry) *node {
	switch {
	case len(entries) == 0:
		return nil
	case len(entries) <= bucket:
		return e.make(node{key: at.key, bits: at.bits, entries: entries, count: len(entries)})
	}
	in := common(entries[0].key, entries[len(entries)-1].key)
	n := node{key: in.key, bits: in.bits, count: len(entries)}
	for i := range n.kids {
		end := 0
		for end < len(entries) && in.index(entries[end].key) == i {
			end++
		}
		n.kids[i] = e.build(in.child(i), entries[:end:end])
		entries = entries[end:]
	}
	return e.make(n)
}

func (e *editor) put(n *node, at slot, new entry) *node {
	if n == nil {
		return e.build(at, []entry{new})
	}
	if n.leaf() {
		e.drop(n)
		return e.build(at, inserted(n.entries, new))
	}
	in := n.slot()
	if !in.holds(new.key) { // a parent for both
		in = common(n.key, new.key)
		parent := node{key: in.key, bits: in.bits, count: n.count + 1}
		parent.kids[in.index(n.key)] = n
		i := in.index(new.key)
		parent.kids[i] = e.build(in.child(i), []entry{new})
		return e.make(parent)
	}
	e.drop(n)
	next, i := *n, in.index(new.key)
	next.kids[i] = e.put(n.kids[i], in.child(i), new)
	next.count = total(next.kids)
	return e.make(next)
}

func (e *editor) remove(n *node, at slot, key uint32) *node {
	if n == nil || !n.has(key) {
		return n
	}
	e.drop(n)
	if n.leaf() {
		return e.build(at, slices.DeleteFunc(slices.Clone(n.entries), func(x entry) bool { return x.key == key }))
	}
	if n.count-1 <= bucket { // few enough for one leaf
		entries := e.collect(n, nil)
		return e.build(at, slices.DeleteFunc(entries, func(x entry) bool { return x.key == key }))
	}
	next, i := *n, n.slot().index(key)
	next.kids[i] = e.remove(n.kids[i], n.slot().child(i), key)
	next.count = total(next.kids)
	if only := next.only(); only != nil {
		return only
	}
	return e.make(next)
}

// collect gathers all entries below a node, and drops the nodes.
func (e *editor) collect(n *node, into []entry) []entry {
	for _, kid := range n.kids {
		if kid != nil {
			e.drop(kid)
			into = e.collect(kid, into)
		}
	}
	return append(into, n.entries...)
}

func (n *node) has(key uint32) bool {
	for n != nil && !n.leaf() {
		if !n.slot().holds(key) {
			return false
		}
		n = n.kids[n.slot().index(key)]
	}
	return n != nil && slices.ContainsFunc(n.entries, func(x entry) bool { return x.key == key })
}

// only is the one kid of a node that has just one.
func (n *node) only() (kid *node) {
	for _, k := range n.kids {
		if k != nil && kid != nil {
			return nil
		}
		if k != nil {
			kid = k
		}
	}
	return kid
}

func total(kids [1 << step]*node) (n int) {
	for _, kid := range kids {
		if kid != nil {
			n += kid.count
		}
	}
	return n
}

func inserted(entries []entry, new entry) []entry {
	i, found := slices.BinarySearchFunc(entries, new.key, func(x entry, key uint32) int { return cmp.Compare(x.key, key) })
	out := slices.Clone(entries)
	if found {
		out[i] = new
		return out
	}
	return slices.Insert(out, i, new)
}

// render is the content of the node's chain. A child with one key needs no chain.
func (n *node) render() (rules []string) {
	for _, x := range n.entries {
		rules = append(rules, x.rules...)
	}
	for _, kid := range n.kids {
		switch {
		case kid == nil:
		case kid.count == 1:
			rules = append(rules, kid.entries[0].rules...)
		default:
			rules = append(rules, n.kind.match(kid.key, kid.bits)+" -g "+kid.chain())
		}
	}
	return n.kind.closed(rules)
}

// chain is the name of the node's chain unless it is the root.
func (n *node) chain() string { return fmt.Sprintf("%s%08x-%d", n.kind.prefix, n.key, n.bits) }

// rank orders chains so that what leads somewhere comes after it.
func (n *node) rank() int { return rankTree + keyBits - n.bits }

// addrKey and portKey are the keys of trees.
func addrKey(addr netip.Addr) uint32 {
	b := addr.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func portKey(port uint16) uint32 { return uint32(port) << 16 }

func matchDst(key uint32, bits int) string {
	addr := netip.AddrFrom4([4]byte{byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)})
	return fmt.Sprintf("-d %s/%d", addr, bits)
}

func matchPort(protocol Protocol) func(uint32, int) string {
	return func(key uint32, bits int) string {
		low := key >> 16
		high := low + 1<<max(16-bits, 0) - 1
		return fmt.Sprintf("-p %s -m %s --dport %d:%d", protocol, protocol, low, high)
	}
}
