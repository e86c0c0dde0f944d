package constraints

import (
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// Weights are how much the scores count. They are those of package sched's profile.
type Weights struct{ PodAffinity, TopologySpread int64 }

// Limits is what other MiniPods mean for where one MiniPod can go, and how well. It holds until the Book changes or is asked again.
type Limits struct {
	weights Weights

	affinity []*tally
	terms    []framework.Term // of affinity
	// first tells whether it may go where there are none that it requires, since there are none anywhere and it is one itself.
	first bool
	anti  []excluded
	hard  []spread

	soft  []spread
	pulls []pull
	// scale is the greatest weight of the pulls.
	scale int64

	// walls and slopes are what anti and pulls come to, where there are too many to ask each about every node.
	walls, slopes sums
}

// excluded are MiniPods that must not be where it goes.
type excluded struct {
	*tally
	code framework.Code
}

// spread is a constraint: for each place, how many there may be.
type spread struct {
	*tally
	key string
	// limit is how many there may be in a place, with the MiniPod itself where it is one of them; and of a soft one, how many there are in the emptiest.
	limit, least, self, maxSkew int64
}

// pull is MiniPods that it would be with, or not.
type pull struct {
	*tally
	weight int64
}

// Limits are those of a MiniPod, to be used before the Book changes or is asked again; nil where it is not concerned.
func (b *Book) Limits(pod *framework.Pod, weights Weights) *Limits {
	var concerning []*carried
	if b.Carries() {
		concerning = b.concerning(pod)
	}
	if pod.Around == nil && len(concerning) == 0 {
		return nil
	}
	b.now++
	l := &b.limits
	*l = Limits{weights: weights, affinity: l.affinity[:0], anti: l.anti[:0], hard: l.hard[:0], soft: l.soft[:0], pulls: l.pulls[:0],
		walls: l.walls[:0], slopes: l.slopes[:0]}
	if pod.Around != nil {
		l.require(b, pod)
		l.spread(b, pod)
		for i := range pod.Around.Preferred {
			t := &pod.Around.Preferred[i]
			l.pull(b.askAbout(t.TopologyKey, t.Term), t.Weight)
		}
	}
	for _, c := range concerning {
		if c.term.Weight == 0 {
			l.anti = append(l.anti, excluded{c.tally, framework.Repelled})
		} else {
			l.pull(c.tally, c.term.Weight)
		}
	}
	l.sum()
	return l
}

// sum adds up, for each place, what many counters say. Anybody can carry terms that mean everybody, each another.
func (l *Limits) sum() {
	if len(l.anti) > many {
		for i := range l.anti {
			l.walls.add(l.anti[i].tally, l.anti[i].code, 1)
		}
	}
	if len(l.pulls) > many {
		for i := range l.pulls {
			l.slopes.add(l.pulls[i].tally, framework.Fits, l.pulls[i].weight)
		}
	}
}

func (l *Limits) require(b *Book, pod *framework.Pod) {
	l.terms = pod.Around.Affinity
	found, self := int64(0), true
	for i := range l.terms {
		t := b.askAbout(l.terms[i].TopologyKey, l.terms...)
		l.affinity = append(l.affinity, t)
		found += t.total
		self = self && l.terms[i].MeansNamespace(pod.Namespace, b.namespaces[pod.Namespace]) && l.terms[i].MeansLabels(pod.Labels)
	}
	l.first = found == 0 && self
	for _, term := range pod.Around.AntiAffinity {
		l.anti = append(l.anti, excluded{b.askAbout(term.TopologyKey, term), framework.PodAntiAffinityUnmet})
	}
}

func (l *Limits) spread(b *Book, pod *framework.Pod) {
	for i := range pod.Around.Spread {
		s := &pod.Around.Spread[i]
		t := b.askSpread(pod, s)
		out := spread{tally: t, key: s.TopologyKey, maxSkew: s.MaxSkew, least: t.where.least(s.MinDomains)}
		if s.MeansLabels(pod.Labels) {
			out.self = 1
		}
		out.limit = out.least + s.MaxSkew - out.self
		if s.Hard {
			l.hard = append(l.hard, out)
		} else {
			l.soft = append(l.soft, out)
		}
	}
}

func (l *Limits) pull(t *tally, weight int64) {
	l.pulls = append(l.pulls, pull{t, weight})
	l.scale = max(l.scale, weight, -weight)
}

// Filter is why the MiniPod cannot go to a node, because of others; the zero Reason where it can.
func (l *Limits) Filter(slot int32) framework.Reason {
	for i := range l.hard {
		s := &l.hard[i]
		n, there := s.at(slot)
		if !there {
			return framework.Reason{Code: framework.SpreadLabelMissing, Detail: s.key}
		}
		if n > s.limit {
			return framework.Reason{Code: framework.SkewTooGreat, Detail: s.key}
		}
	}
	met := true
	for i, t := range l.affinity {
		n, there := t.at(slot)
		if met = met && n > 0; !there || !met && !l.first {
			return framework.Reason{Code: framework.PodAffinityUnmet, Detail: l.terms[i].TopologyKey}
		}
	}
	return l.exclude(slot)
}

// exclude is the part of Filter about those that must not be where it goes.
func (l *Limits) exclude(slot int32) framework.Reason {
	for i := range l.walls {
		if l.walls[i].at(slot) > 0 {
			return framework.Reason{Code: l.walls[i].code, Detail: l.walls[i].topology.key}
		}
	}
	if len(l.walls) > 0 {
		return framework.Reason{}
	}
	for i := range l.anti {
		if n, _ := l.anti[i].at(slot); n > 0 {
			return framework.Reason{Code: l.anti[i].code, Detail: l.anti[i].topology.key}
		}
	}
	return framework.Reason{}
}

// Scores of a node for a MiniPod that can go there, each 0 to MaxScore, and 0 where nothing is preferred.
func (l *Limits) Scores(slot int32) (podAffinity, topologySpread int64) {
	if len(l.pulls) > 0 {
		podAffinity = l.drawn(l.slope(slot))
	}
	if len(l.soft) > 0 {
		topologySpread = l.evenness(slot)
	}
	return podAffinity, topologySpread
}

// slope is what all pulls come to.
func (l *Limits) slope(slot int32) (sum int64) {
	for i := range l.slopes {
		sum += l.slopes[i].at(slot)
	}
	if len(l.slopes) > 0 {
		return sum
	}
	for i := range l.pulls {
		n, _ := l.pulls[i].at(slot)
		sum += n * l.pulls[i].weight
	}
	return sum
}

// Score is the weighted sum of the scores.
func (l *Limits) Score(slot int32) int64 {
	podAffinity, topologySpread := l.Scores(slot)
	return l.weights.PodAffinity*podAffinity + l.weights.TopologySpread*topologySpread
}

// Most is what no node's Score is above.
func (l *Limits) Most() (most int64) {
	if len(l.pulls) > 0 {
		most += l.weights.PodAffinity * l.drawn(l.steepest())
	}
	if len(l.soft) > 0 {
		most += l.weights.TopologySpread * framework.MaxScore
	}
	return most
}

// steepest is what no node's slope is above.
func (l *Limits) steepest() (sum int64) {
	for i := range l.slopes {
		sum += l.slopes[i].most()
	}
	if len(l.slopes) > 0 {
		return sum
	}
	for i := range l.pulls {
		if l.pulls[i].weight > 0 {
			sum += l.pulls[i].weight * l.pulls[i].most()
		}
	}
	return sum
}

// drawn makes a score of a sum of weights: a half for nothing, more for what draws and less for what repels. It grows with the sum and has no end,
// since the sum has none; one MiniPod of the greatest weight is half of the way. So weights count as they compare with each other.
func (l *Limits) drawn(sum int64) int64 {
	const half = framework.MaxScore / 2
	return half + half*sum/(max(sum, -sum)+l.scale)
}

// evenness is the mean over the constraints: whole in the emptiest place, and less the more there are above that, for a greater maxSkew more slowly; 0 where
// a label is missing.
func (l *Limits) evenness(slot int32) (score int64) {
	for i := range l.soft {
		s := &l.soft[i]
		n, there := s.at(slot)
		if !there {
			return 0
		}
		score += framework.MaxScore * s.maxSkew / (s.maxSkew + max(0, n-s.least))
	}
	return score / int64(len(l.soft))
}

// nodesOf tells which nodes count for a constraint of the Pod. The answers are kept by what Spread.Nodes says of it.
func nodesOf(pod *framework.Pod, s *framework.Spread) func(node *framework.NodeInfo) bool {
	keys := pod.Around.Keys(s.Hard)
	return func(node *framework.NodeInfo) bool {
		for _, key := range keys {
			if _, has := node.Spec.Labels[key]; !has {
				return false
			}
		}
		if s.HonorAffinity {
			for _, label := range pod.NodeSelector {
				if value, has := node.Spec.Labels[label.Key]; !has || value != label.Value {
					return false
				}
			}
			if !pod.NodeAffinity.Allows(node) {
				return false
			}
		}
		return !s.HonorTaints || (taints.Filter{}).Filter(pod, node).Code == framework.Fits
	}
}
