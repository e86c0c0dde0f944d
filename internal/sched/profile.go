package sched

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"miniplane.dev/miniplane/internal/sched/constraints"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/cordon"
	"miniplane.dev/miniplane/internal/sched/plugins/hostports"
	"miniplane.dev/miniplane/internal/sched/plugins/nodeaffinity"
	"miniplane.dev/miniplane/internal/sched/plugins/nodename"
	"miniplane.dev/miniplane/internal/sched/plugins/nodeready"
	"miniplane.dev/miniplane/internal/sched/plugins/noderesources"
	"miniplane.dev/miniplane/internal/sched/plugins/nodeselector"
	"miniplane.dev/miniplane/internal/sched/plugins/pressure"
	"miniplane.dev/miniplane/internal/sched/plugins/speclevel"
	"miniplane.dev/miniplane/internal/sched/plugins/spread"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// Profile is which plugins decide, in which order, and with which weights.
type Profile struct {
	// Filters are asked in order; the first that refuses a node gives its reason. What a user would want to hear of first
	// comes first, what changes by itself (room) last.
	Filters []framework.Filter
	// Scores are added up by weight.
	Scores []Weighted
	// Around has the weights of the scores that look at other MiniPods.
	Around constraints.Weights
}

// The scores that look at other MiniPods, by name.
const (
	podAffinity    = "PodAffinity"
	topologySpread = "TopologySpread"
)

// Weighted is a score that counts Weight times.
type Weighted struct {
	framework.Score
	Weight int64
}

// maxWeight keeps the sum of all scores far from overflowing.
const maxWeight = 1000

// DefaultProfile has every plugin. weights, by the name of a score, replaces default weights; 0 switches a score off.
func DefaultProfile(weights map[string]int64) (*Profile, error) {
	p := &Profile{
		Filters: []framework.Filter{
			nodename.Plugin{}, nodeready.Plugin{}, cordon.Plugin{}, pressure.Plugin{}, taints.Filter{}, nodeselector.Plugin{},
			nodeaffinity.Filter{}, speclevel.Plugin{}, hostports.Plugin{}, noderesources.Fit{},
		},
		Scores: []Weighted{
			{noderesources.LeastRequested{}, 1},
			{spread.Plugin{}, 2},
			{taints.Prefer{}, 3},
			{nodeaffinity.Prefer{}, 2},
		},
		Around: constraints.Weights{PodAffinity: 2, TopologySpread: 2},
	}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		weight := p.weight(name)
		if weight == nil {
			return nil, fmt.Errorf("there is no score %q; there are %s", name, p.scoreNames())
		}
		if w := weights[name]; w < 0 || w > maxWeight {
			return nil, fmt.Errorf("weight %d of score %s: must be 0 to %d", w, name, maxWeight)
		}
		*weight = weights[name]
	}
	p.Scores = slices.DeleteFunc(p.Scores, func(s Weighted) bool { return s.Weight == 0 })
	return p, nil
}

// weight of the score of that name; nil if there is none.
func (p *Profile) weight(name string) *int64 {
	switch name {
	case podAffinity:
		return &p.Around.PodAffinity
	case topologySpread:
		return &p.Around.TopologySpread
	}
	if i := slices.IndexFunc(p.Scores, func(s Weighted) bool { return s.Name() == name }); i >= 0 {
		return &p.Scores[i].Weight
	}
	return nil
}

// scoreNames lists the scores, for people.
func (p *Profile) scoreNames() string {
	names := make([]string, 0, len(p.Scores)+1)
	for _, s := range p.Scores {
		names = append(names, s.Name())
	}
	return strings.Join(append(names, podAffinity), ", ") + " and " + topologySpread
}

// Reserve keeps MiniPods from opening ports of nodes.
func (p *Profile) Reserve(ports []hostports.Range) {
	for i, filter := range p.Filters {
		if _, ok := filter.(hostports.Plugin); ok {
			p.Filters[i] = hostports.Plugin{Reserved: ports}
		}
	}
}

// Filter is the reason of the first filter that refuses the node, or the zero Reason.
func (p *Profile) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	for _, f := range p.Filters {
		if r := f.Filter(pod, node); r.Code != framework.Fits {
			return r
		}
	}
	return framework.Reason{}
}

// filtersFor lists the filters that matter to the Pod, into the given slice.
func (p *Profile) filtersFor(pod *framework.Pod, into []framework.Filter) []framework.Filter {
	into = into[:0]
	for _, f := range p.Filters {
		if s, ok := f.(framework.Skipper); !ok || !s.Skip(pod) {
			into = append(into, f)
		}
	}
	return into
}

// scoresFor lists the scores that matter to the Pod, into the given slice.
func (p *Profile) scoresFor(pod *framework.Pod, into []Weighted) []Weighted {
	into = into[:0]
	for i := range p.Scores {
		if s, ok := p.Scores[i].Score.(framework.Skipper); !ok || !s.Skip(pod) {
			into = append(into, p.Scores[i])
		}
	}
	return into
}

// Score is the weighted sum of the scores of a node that passed the filters.
func (p *Profile) Score(pod *framework.Pod, node *framework.NodeInfo) int64 {
	return total(p.Scores, pod, node)
}

func total(scores []Weighted, pod *framework.Pod, node *framework.NodeInfo) int64 {
	var sum int64
	for i := range scores {
		sum += scores[i].Weight * scores[i].Score.Score(pod, node)
	}
	return sum
}
