package proxy

import (
	"maps"
	"net/netip"
	"slices"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// chainID names a chain.
type chainID struct{ table, name string }

// source makes the content of a chain when it is needed.
type source interface {
	render() []string
	// rank orders chains so that what leads somewhere comes after it.
	rank() int
}

// Ranks from the leaves to the kernel's own chains. Trees take one rank per bit.
const (
	rankService = iota
	rankVIP
	rankTree
	rankRoot  = rankTree + keyBits + 1
	rankInner = rankRoot + 1
	rankEntry = rankRoot + 2
)

// lines is a chain whose content is known.
type lines struct {
	at    int
	rules []string
}

func (l lines) render() []string { return l.rules }
func (l lines) rank() int        { return l.at }

// rootOf is the chain of a tree's root, which has a name of its own.
type rootOf struct{ *tree }

func (r rootOf) rank() int { return rankRoot }
func (r rootOf) render() []string {
	if r.root == nil {
		return r.kind.closed(nil)
	}
	return r.root.render()
}

// ruleset is the desired content of all chains, as a function of the services and host ports that were set, and what of
// it has been applied.
type ruleset struct {
	cfg     Config
	desired map[chainID]source
	dirty   map[chainID]bool
	applied map[chainID][]string
	owners  map[string]contribution

	vips, hairpins *claims
	ports          map[Protocol]*claims // node ports and host ports
	refused        map[Protocol]*claims // node ports without backends

	sources, vteps, peers *claims // of other nodes
}

func newRuleset(cfg Config) *ruleset {
	r := &ruleset{
		cfg:     cfg,
		desired: map[chainID]source{}, dirty: map[chainID]bool{}, applied: map[chainID][]string{},
		owners: map[string]contribution{},
		ports:  map[Protocol]*claims{}, refused: map[Protocol]*claims{},
	}
	r.vips = r.claims(treeKind{table: iptables.NAT, name: chainVIP, prefix: "MINI-V-", match: matchDst})
	r.hairpins = r.claims(treeKind{table: iptables.NAT, name: chainHairpin, prefix: "MINI-H-", match: matchDst})
	r.ports[TCP] = r.claims(treeKind{table: iptables.NAT, name: chainTCP, prefix: "MINI-T-", match: matchPort(TCP)})
	r.ports[UDP] = r.claims(treeKind{table: iptables.NAT, name: chainUDP, prefix: "MINI-U-", match: matchPort(UDP)})
	r.refused[TCP] = r.claims(treeKind{table: iptables.Filter, name: chainRefuseTCP, prefix: "MINI-RT-", match: matchPort(TCP)})
	r.refused[UDP] = r.claims(treeKind{table: iptables.Filter, name: chainRefuseUDP, prefix: "MINI-RU-", match: matchPort(UDP)})
	r.peerTrees()
	for id, rules := range entryChains(cfg) {
		rank := rankInner
		if slices.ContainsFunc(allJumps(), func(j iptables.Rule) bool { return j.Table == id.table && j.Spec == "-j "+id.name }) {
			rank = rankEntry
		}
		r.setChain(id, lines{rank, rules})
	}
	return r
}

// contribution is all that one owner, a service, a MiniPod with host ports or a peer, adds to the chains.
type contribution struct {
	chains   map[chainID]source
	vips     map[uint32][]string
	hairpins map[uint32][]string
	ports    map[Protocol]map[uint32][]string
	refused  map[Protocol]map[uint32][]string

	sources, vteps, peers map[uint32][]string
}

func (c contribution) empty() bool {
	return len(c.chains)+len(c.ports[TCP])+len(c.ports[UDP])+len(c.peers) == 0
}

// set replaces what an owner contributes; an empty contribution removes it. It costs as much as what changes.
func (r *ruleset) set(owner string, now contribution) {
	before := r.owners[owner]
	for id := range before.chains {
		if _, stays := now.chains[id]; !stays {
			r.dropChain(id)
		}
	}
	for id, s := range now.chains {
		r.setChain(id, s)
	}
	r.vips.update(r, owner, before.vips, now.vips)
	r.hairpins.update(r, owner, before.hairpins, now.hairpins)
	for _, protocol := range []Protocol{TCP, UDP} {
		r.ports[protocol].update(r, owner, before.ports[protocol], now.ports[protocol])
		r.refused[protocol].update(r, owner, before.refused[protocol], now.refused[protocol])
	}
	r.sources.update(r, owner, before.sources, now.sources)
	r.vteps.update(r, owner, before.vteps, now.vteps)
	r.peers.update(r, owner, before.peers, now.peers)
	r.owners[owner] = now
	if now.empty() {
		delete(r.owners, owner)
	}
}

func (r *ruleset) setChain(id chainID, s source) {
	r.desired[id] = s
	r.dirty[id] = true
}

func (r *ruleset) dropChain(id chainID) {
	delete(r.desired, id)
	r.dirty[id] = true
}

// claims is a tree whose keys several owners may claim. All their rules stand there, in the order of the owners' names,
// of which the first that matches counts.
type claims struct {
	tree tree
	by   map[uint32]map[string][]string
}

func (r *ruleset) claims(kind treeKind) *claims {
	c := &claims{tree: tree{kind: kind}, by: map[uint32]map[string][]string{}}
	r.setChain(chainID{kind.table, kind.name}, rootOf{&c.tree})
	return c
}

func (c *claims) update(r *ruleset, owner string, before, now map[uint32][]string) {
	for key := range before {
		if _, stays := now[key]; !stays {
			delete(c.by[key], owner)
			c.apply(r, key)
		}
	}
	for key, rules := range now {
		if slices.Equal(before[key], rules) {
			continue
		}
		if c.by[key] == nil {
			c.by[key] = map[string][]string{}
		}
		c.by[key][owner] = rules
		c.apply(r, key)
	}
}

// apply brings one key of the tree up to date, and the chains of the nodes on its path.
func (c *claims) apply(r *ruleset, key uint32) {
	var rules []string
	for _, owner := range slices.Sorted(maps.Keys(c.by[key])) {
		for _, rule := range c.by[key][owner] {
			if !slices.Contains(rules, rule) {
				rules = append(rules, rule)
			}
		}
	}
	if len(rules) == 0 {
		delete(c.by, key)
	}
	kind, before := c.tree.kind, c.tree.root
	made, gone := c.tree.set(key, rules)
	for _, n := range gone {
		r.dropChain(chainID{kind.table, n.chain()})
	}
	if before != nil && !slices.Contains(gone, before) { // the old root may have become a child
		made = append(made, before)
	}
	for _, n := range made {
		if n != c.tree.root && n.count > 1 {
			r.setChain(chainID{kind.table, n.chain()}, n)
		}
	}
	if root := c.tree.root; root != nil && root != before { // a child may have become the root
		if r.desired[chainID{kind.table, root.chain()}] == source(root) {
			r.dropChain(chainID{kind.table, root.chain()})
		}
	}
	r.setChain(chainID{kind.table, kind.name}, rootOf{&c.tree})
}

// forget makes everything count as not applied.
func (r *ruleset) forget() {
	clear(r.applied)
	for id := range r.desired {
		r.dirty[id] = true
	}
}

// change is the difference between what is desired and what was applied.
type change struct {
	set     []chainContent // leaves first
	removed []chainID
}

type chainContent struct {
	id    chainID
	rank  int
	rules []string
}

func (c change) empty() bool { return len(c.set)+len(c.removed) == 0 }

// changes renders the chains that may have changed. The same changes are found again until they are committed.
func (r *ruleset) changes() change {
	var out change
	for id := range r.dirty {
		old, exists := r.applied[id]
		s, wanted := r.desired[id]
		if !wanted {
			if exists {
				out.removed = append(out.removed, id)
			}
			continue
		}
		if rules := s.render(); !exists || !slices.Equal(old, rules) {
			out.set = append(out.set, chainContent{id, s.rank(), rules})
		}
	}
	slices.SortFunc(out.set, func(a, b chainContent) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return compareIDs(a.id, b.id)
	})
	slices.SortFunc(out.removed, compareIDs)
	return out
}

// commit notes that the changes, which must be the latest ones, have been applied.
func (r *ruleset) commit(c change) {
	for _, x := range c.set {
		r.applied[x.id] = x.rules
	}
	for _, id := range c.removed {
		delete(r.applied, id)
	}
	clear(r.dirty)
}

// local tells whether an address is one of this node's MiniPods.
func (r *ruleset) local(addr netip.Addr) bool { return r.cfg.NodePodCIDR.Contains(addr) }
