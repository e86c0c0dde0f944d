// Package fabric decides whether the network between the nodes carries what MiniPods send each other.
//
// Idea. A cloud's network may drop packets with addresses that it did not give, and a firewall may drop VXLAN; both do it in
// silence. So each node asks some others, in turn, two questions at once: one from its own address in its range to the other's, by the
// way that MiniPods' packets take, and one from node address to node address, the control. Only an answer to the control beside
// silence on the way, several times in a row, is proof that the way loses packets. When the control is silent too, nothing is
// known: that peer may be off, or a firewall may drop what asks.
//
// The algorithm. A Watch remembers for each peer how often in a row it was silent. A round asks a bounded number of peers: some of
// those under suspicion, some of those that are lost, and for the rest who waited longest, beginning at another place on each node. So
// the cost of a round is the same for three nodes and for thousands, and a suspicion is decided in the rounds that follow.
//
// What makes it hard is to say neither too much nor too often. A peer is lost after three rounds of proof and found after two answers
// in a row; what is no longer known is no longer said; whoever changes its addresses or its way begins anew; and no more peers are
// kept as lost than are needed to tell people, so that the message stands still and a network that is mended is soon believed.
package fabric

import (
	"cmp"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
)

const (
	// perRound is how many peers are asked in one round, and perClass how many of these places are for those under suspicion, and for
	// those that are lost.
	perRound, perClass = 8, 3
	// proof is how many rounds in a row lose a peer, or make it unknown; health is how many answers in a row find it again.
	proof, health = 3, 2
	// mostLost is how many peers are kept as lost.
	mostLost = 16
)

// Peer is another node whose agent is heard and says that the node answers in its range.
type Peer struct {
	Name string
	// NodeIP is its address as a node, Address its own one in the range of its MiniPods.
	NodeIP, Address netip.Addr
	// Encapsulated tells that its MiniPods are sent to through VXLAN.
	Encapsulated bool
}

// Answer is what came back from a peer: from its node address, and by the way that MiniPods' packets take.
type Answer struct{ Node, Way bool }

// standing is what is known of a peer.
type standing struct {
	// rank is its place among those who waited equally long.
	rank uint64
	// asked is the round in which it was asked last; 0 is never.
	asked int
	// silent, unknown and well count rounds in a row.
	silent, unknown, well int
	// answers tells that it is known to answer, lost that it is known not to.
	answers, lost bool
}

// Watch is what one node knows of its peers. It is for one goroutine.
type Watch struct {
	ranks *rand.PCG
	round int
	known map[Peer]*standing
	lost  []Peer // in the order in which they were lost
}

// New makes a Watch that knows nothing, for the node of that name: each begins with others.
func New(self string) *Watch {
	name := fnv.New64a()
	_, _ = name.Write([]byte(self))
	return &Watch{ranks: rand.NewPCG(name.Sum64(), 0), known: map[Peer]*standing{}}
}

// Next begins a round: it forgets who is not among the peers any more, and says whom to ask.
func (w *Watch) Next(peers []Peer) []Peer {
	w.round++
	there := make(map[Peer]bool, len(peers))
	for _, p := range peers {
		there[p] = true
		if w.known[p] == nil {
			w.known[p] = &standing{rank: w.ranks.Uint64()}
		}
	}
	for p := range w.known {
		if !there[p] {
			delete(w.known, p)
		}
	}
	w.lost = slices.DeleteFunc(w.lost, func(p Peer) bool { return !there[p] })

	all := w.inTurn()
	// Who is nearest to a decision goes first: else, where everybody is silent, nobody would ever be decided.
	suspects := slices.DeleteFunc(slices.Clone(all), func(p Peer) bool { return !w.known[p].suspect() })
	slices.SortStableFunc(suspects, func(a, b Peer) int { return w.known[b].silent - w.known[a].silent })
	lost := slices.DeleteFunc(slices.Clone(all), func(p Peer) bool { return !w.known[p].lost })
	var out []Peer
	take := func(from []Peer, most int) {
		for _, p := range from {
			if most == 0 || len(out) == perRound {
				return
			}
			if !slices.Contains(out, p) {
				out = append(out, p)
				most--
			}
		}
	}
	take(suspects, perClass)
	take(lost, perClass)
	take(all, perRound)
	return out
}

// inTurn are all peers, who waited longest first, and else in an order that is another one on each node.
func (w *Watch) inTurn() []Peer {
	out := slices.Collect(maps.Keys(w.known))
	slices.SortFunc(out, func(a, b Peer) int {
		x, y := w.known[a], w.known[b]
		return cmp.Or(x.asked-y.asked, cmp.Compare(x.rank, y.rank), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// suspect tells that it was silent, and that this is not decided yet.
func (s *standing) suspect() bool { return !s.lost && s.silent > 0 }

// Hear ends a round with what was answered. Who is not in it was not asked.
func (w *Watch) Hear(answers map[Peer]Answer) {
	// In the order of names, so that the same answers give the same words.
	asked := make([]Peer, 0, len(answers))
	for p := range answers {
		asked = append(asked, p)
	}
	slices.SortFunc(asked, func(a, b Peer) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range asked {
		s := w.known[p]
		if s == nil {
			continue
		}
		s.asked = w.round
		was := s.lost
		s.hear(answers[p], len(w.lost) < mostLost)
		switch {
		case s.lost && !was:
			w.lost = append(w.lost, p)
		case was && !s.lost:
			w.lost = slices.DeleteFunc(w.lost, func(o Peer) bool { return o == p })
		}
	}
}

// hear counts one answer. Where there is no room for one more that is lost, silence is not counted.
func (s *standing) hear(a Answer, room bool) {
	switch {
	case a.Way:
		s.silent, s.unknown = 0, 0
		s.well++
		if !s.lost || s.well >= health {
			s.answers, s.lost = true, false
		}
	case a.Node:
		s.well, s.unknown = 0, 0
		if !room && !s.lost {
			s.answers, s.silent = false, 0
			return
		}
		s.silent++
		if s.silent >= proof {
			s.answers, s.lost = false, true
		}
	default:
		s.well = 0
		s.unknown++
		if !s.lost {
			s.silent = 0
		}
		if s.unknown >= proof {
			s.silent, s.answers, s.lost = 0, false, false
		}
	}
}

// Busy tells that something is about to be decided, or is wrong: the next round should be soon.
func (w *Watch) Busy() bool {
	for _, s := range w.known {
		if s.suspect() || s.lost || s.asked == 0 {
			return true
		}
	}
	return false
}

// Verdict is what is known now.
func (w *Watch) Verdict() Verdict {
	v := Verdict{Peers: len(w.known), Lost: slices.Clone(w.lost)}
	for p, s := range w.known {
		switch {
		case s.lost:
		case s.suspect():
			v.Suspects++
		case s.answers && p.Encapsulated:
			v.Encapsulated++
		case s.answers:
			v.Routed++
		case s.unknown < proof:
			v.Unknown++
		}
	}
	return v
}
