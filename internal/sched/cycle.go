// Package sched decides on which node a MiniPod runs.
//
// The idea: a decision is a numbered cycle over a private snapshot, pure and exact, and as cheap as what changed since the
// last one.
//
// The algorithm, in Cycle.Decide: (1) bring the snapshot up to date by copying the nodes that changed; (2) filter and
// (3) score the nodes, which is done once for MiniPods of one shape and then only for nodes that changed, kept in a
// ranking; (4) pick the best. Assuming and binding are the caller's (controllers/scheduling).
//
// What makes it hard is to be fast and right at once. Looking at a sample of the nodes is fast but misses the best, and
// then the reasons are wrong too. A ranking misses nothing: plugins look at one node only (package framework), so the
// verdict on a node that did not change stands. One placement changes one node, so a thousand equal MiniPods cost one scan
// and a thousand small corrections. Classes differ by group too, since spreading looks at it, and replica sets are many and
// small; so there is one shared ranking without groups. A group can only lower a score, so the shared order is walked from
// the top, with the true score worked out on the way, until no bound can beat the best found: a step for each node that has
// MiniPods of the group. A group on too many nodes for that gets a ranking of its own.
//
// MiniPods that ask about others (affinity, spread over topologies) break the rule that plugins keep. For them the same rankings are walked, and what
// others mean for a node is looked up in counters on the way (package constraints): who may not go there is passed over, and what a node can get
// for it at most is part of the bound.
package sched

import (
	"hash/fnv"

	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/constraints"
	"miniplane.dev/miniplane/internal/sched/framework"
)

const (
	// maxRankings bounds the memory for rankings: about 28 bytes per node each.
	maxRankings = 256
	// maxVisits is how many nodes of a shared ranking are looked at for a group before it gets a ranking of its own.
	maxVisits = 32
	// maxBehind is how many changes a group's own ranking may have missed before it is dropped in favour of the shared one.
	maxBehind = 512
)

// Cycle makes decisions. It belongs to one goroutine; the cache may be changed by others meanwhile.
type Cycle struct {
	cache    *cache.Cache
	profile  *Profile
	seed     uint64
	snapshot cache.Snapshot
	rankings map[string]*ranking
	filters  []framework.Filter // of the Pod at hand
	scores   []Weighted         // of the Pod at hand
	count    int64
}

// NewCycle makes a Cycle. The seed decides between nodes that are equally good.
func NewCycle(c *cache.Cache, profile *Profile, seed uint64) *Cycle {
	return &Cycle{cache: c, profile: profile, seed: seed, rankings: map[string]*ranking{}}
}

// Decision is the outcome of one cycle.
type Decision struct {
	// Node is the chosen one; empty when none can take the MiniPod, and then Diagnosis says why.
	Node string
	// Score of the chosen node.
	Score int64
	// Diagnosis has one reason per node; nil when a node was found.
	Diagnosis *framework.Diagnosis
	// Message is the diagnosis for people.
	Message string
	// Kept are nodes that other MiniPods keep the MiniPod from, whatever the nodes say themselves; nil where that was not looked at, since no node could take it anyway.
	Kept *framework.Slots
}

// Decide chooses a node for the MiniPod.
func (c *Cycle) Decide(pod *framework.Pod) Decision {
	// 1. Snapshot: what the decision is made on. Later news are for the next one.
	c.cache.Update(&c.snapshot)
	c.count++

	// 2. Whom other MiniPods concern decides while they stay where they are. Where there is no node for it by itself they need not be asked, which costs more.
	decision := Decision{}
	if pod.Around == nil && !c.snapshot.Carries || c.nowhere(pod) ||
		!c.cache.Around(&c.snapshot, pod, c.profile.Around, func(l *constraints.Limits) { decision = c.choose(pod, l) }) {
		decision = c.choose(pod, nil)
	}
	return decision
}

// choose decides on the snapshot. Limits are nil where other MiniPods mean nothing.
func (c *Cycle) choose(pod *framework.Pod, limits *constraints.Limits) Decision {
	// 3. Who asks for one node by name is told about that one.
	if pod.NodeName != "" {
		return c.decideNamed(pod, limits)
	}

	// 4. Filter and score: all nodes the first time, the changed ones from then on.
	// 5. Pick the best, or say of each node why not.
	switch {
	case limits != nil:
		return c.decideAround(pod, limits)
	case pod.Group == 0:
		return c.decideRanked(pod)
	}
	return c.decideGrouped(pod)
}

// nowhere tells whether no node can take the MiniPod, whatever others mean for it.
func (c *Cycle) nowhere(pod *framework.Pod) bool {
	if pod.NodeName != "" {
		return false
	}
	_, ok := c.order(pod).best()
	return !ok
}

// order is the ranking without groups, as of the snapshot.
func (c *Cycle) order(pod *framework.Pod) *ranking {
	r := c.ranking(pod.WithoutGroup())
	r.follow(&c.snapshot, c.judge(r.pod))
	return r
}

// decideRanked picks from the ranking of the Pod's own shape and group.
func (c *Cycle) decideRanked(pod *framework.Pod) Decision {
	r := c.ranking(pod)
	r.follow(&c.snapshot, c.judge(r.pod))
	slot, ok := r.best()
	if !ok {
		return c.whyNot(r, pod)
	}
	return Decision{Node: c.snapshot.Nodes[slot].Name, Score: r.entries[slot].score}
}

// decideAround picks from the ranking without groups, in its order as far as that leads, passing over nodes that others exclude.
func (c *Cycle) decideAround(pod *framework.Pod, limits *constraints.Limits) Decision {
	r := c.order(pod)
	if _, ok := r.best(); !ok {
		return c.whyNot(r, pod)
	}
	most := limits.Most()
	truth := func(slot int32) (int64, bool) {
		if limits.Filter(slot).Code != framework.Fits {
			return 0, false
		}
		return c.profile.Score(pod, &c.snapshot.Nodes[slot]) + limits.Score(slot), true
	}
	slot, score, ok := r.search(maxVisits, most, truth)
	if !ok {
		slot, score = r.scan(most, truth)
	}
	if score < 0 {
		return c.diagnose(pod, limits)
	}
	return Decision{Node: c.snapshot.Nodes[slot].Name, Score: score}
}

// decideGrouped picks from the ranking that is shared by all groups, whose scores are bounds for each of them, as long as
// few nodes have MiniPods of the group; and else from a ranking of the group's own.
func (c *Cycle) decideGrouped(pod *framework.Pod) Decision {
	if own, ok := c.rankings[pod.GroupShape]; ok {
		if own.behind(&c.snapshot) <= maxBehind {
			return c.decideRanked(pod)
		}
		delete(c.rankings, pod.GroupShape)
	}
	shared := c.order(pod)
	if _, ok := shared.best(); !ok {
		return c.whyNot(shared, pod)
	}
	slot, score, ok := shared.search(maxVisits, 0, func(slot int32) (int64, bool) { return c.profile.Score(pod, &c.snapshot.Nodes[slot]), true })
	if !ok {
		return c.decideRanked(pod)
	}
	return Decision{Node: c.snapshot.Nodes[slot].Name, Score: score}
}

// whyNot is the diagnosis, worked out once until something changes.
func (c *Cycle) whyNot(r *ranking, pod *framework.Pod) Decision {
	if r.why.Diagnosis == nil {
		r.why = c.diagnose(pod, nil)
	}
	return r.why
}

// Verdict is what one node says to a MiniPod.
type Verdict struct {
	Node string
	// Reason why not; zero when the node can take it.
	Reason framework.Reason
	// Scores by plugin, unweighted, and their weighted Total, when it can.
	Scores map[string]int64
	Total  int64
}

// Explain asks every node, without deciding anything.
func (c *Cycle) Explain(pod *framework.Pod) (out []Verdict) {
	if !c.cache.Around(&c.snapshot, pod, c.profile.Around, func(l *constraints.Limits) { out = c.explain(pod, l) }) {
		out = c.explain(pod, nil)
	}
	return out
}

func (c *Cycle) explain(pod *framework.Pod, limits *constraints.Limits) []Verdict {
	out := make([]Verdict, 0, c.snapshot.Known)
	for slot := range c.snapshot.Nodes {
		node := &c.snapshot.Nodes[slot]
		if !node.Exists() {
			continue
		}
		v := Verdict{Node: node.Name, Reason: c.reason(pod, int32(slot), limits)}
		if v.Reason.Code == framework.Fits {
			v.Scores, v.Total = map[string]int64{}, c.profile.Score(pod, node)
			for _, s := range c.profile.Scores {
				v.Scores[s.Name()] = s.Score.Score(pod, node)
			}
			if limits != nil {
				v.Total += limits.Score(int32(slot))
				v.Scores[podAffinity], v.Scores[topologySpread] = limits.Scores(int32(slot))
			}
		}
		out = append(out, v)
	}
	return out
}

func (c *Cycle) decideNamed(pod *framework.Pod, limits *constraints.Limits) Decision {
	slot, ok := c.snapshot.Find(pod.NodeName)
	if !ok || !c.snapshot.Nodes[slot].Exists() || c.reason(pod, slot, limits).Code != framework.Fits {
		return c.diagnose(pod, limits)
	}
	node := &c.snapshot.Nodes[slot]
	score := c.profile.Score(pod, node)
	if limits != nil {
		score += limits.Score(slot)
	}
	return Decision{Node: node.Name, Score: score}
}

// reason is why the MiniPod cannot go to a node: for the node itself, or else for what is around it.
func (c *Cycle) reason(pod *framework.Pod, slot int32, limits *constraints.Limits) framework.Reason {
	r := c.profile.Filter(pod, &c.snapshot.Nodes[slot])
	if r.Code == framework.Fits && limits != nil {
		r = limits.Filter(slot)
	}
	return r
}

// judge makes the verdict on one node: passes it, with which score, and which place among equals.
func (c *Cycle) judge(pod *framework.Pod) func(slot int32) (int64, uint64, bool) {
	seed := shapeSeed(c.seed, pod.Shape)
	c.filters, c.scores = c.profile.filtersFor(pod, c.filters), c.profile.scoresFor(pod, c.scores)
	return func(slot int32) (int64, uint64, bool) {
		node := &c.snapshot.Nodes[slot]
		if !node.Exists() {
			return 0, 0, false
		}
		for _, f := range c.filters {
			if f.Filter(pod, node).Code != framework.Fits {
				return 0, 0, false
			}
		}
		return total(c.scores, pod, node), tieBreak(seed, node), true
	}
}

// kept are the nodes that others exclude.
func (c *Cycle) kept(limits *constraints.Limits) *framework.Slots {
	if limits == nil {
		return nil
	}
	out := &framework.Slots{}
	for slot := range c.snapshot.Nodes {
		if c.snapshot.Nodes[slot].Exists() && limits.Filter(int32(slot)).Code != framework.Fits {
			out.Add(int32(slot))
		}
	}
	return out
}

func (c *Cycle) diagnose(pod *framework.Pod, limits *constraints.Limits) Decision {
	d := &framework.Diagnosis{Nodes: make([]framework.NodeReason, 0, c.snapshot.Known)}
	for slot := range c.snapshot.Nodes {
		if node := &c.snapshot.Nodes[slot]; node.Exists() {
			d.Nodes = append(d.Nodes, framework.NodeReason{Node: node.Name, Reason: c.reason(pod, int32(slot), limits)})
		}
	}
	return Decision{Diagnosis: d, Message: d.Summary(), Kept: c.kept(limits)}
}

// ranking finds the ranking of the Pod's shape and group, or makes room for a new one.
func (c *Cycle) ranking(pod *framework.Pod) *ranking {
	r, ok := c.rankings[pod.GroupShape]
	if !ok {
		r = c.evict()
		r.pod = pod
		c.rankings[pod.GroupShape] = r
	}
	r.used = c.count
	return r
}

// evict drops the ranking that was not asked for the longest time, if there are too many, and returns its memory.
func (c *Cycle) evict() *ranking {
	if len(c.rankings) < maxRankings {
		return &ranking{point: -1}
	}
	var oldest string
	for key, r := range c.rankings {
		if old, ok := c.rankings[oldest]; !ok || r.used < old.used {
			oldest = key
		}
	}
	r := c.rankings[oldest]
	delete(c.rankings, oldest)
	r.point, r.why = -1, Decision{}
	return r
}

func shapeSeed(seed uint64, shape string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(shape))
	return seed ^ h.Sum64()
}
