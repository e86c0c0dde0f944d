package fabric

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const port = 8473

func peer(i int) Peer {
	return Peer{Name: fmt.Sprintf("n%d", i), NodeIP: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}),
		Address: netip.AddrFrom4([4]byte{100, byte(64 + i>>6), byte(i << 2), 1})}
}

func peers(n int) []Peer {
	var out []Peer
	for i := range n {
		out = append(out, peer(i))
	}
	return out
}

func (p Peer) byVXLAN() Peer { p.Encapsulated = true; return p }

// answers of a round: a for an answer by the way, s for silence beside an answer of the node, u for no answer at all.
var answers = map[byte]Answer{'a': {Node: true, Way: true}, 'w': {Way: true}, 's': {Node: true}, 'u': {}}

// said is what a verdict says, in one letter: Lost, Reached, unknown (?), Nobody to ask, or nothing (.).
func said(v Verdict) string {
	c, says := v.Condition(port)
	switch {
	case says == SaysNothing:
		return "."
	case says == SaysNone:
		return "N"
	case c.Status == metav1.ConditionTrue:
		return "L"
	case c.Status == metav1.ConditionFalse:
		return "R"
	}
	return "?"
}

func TestHistoryOfOnePeer(t *testing.T) {
	for _, test := range []struct{ what, heard, want string }{
		{"well", "aaa", "RRR"},
		{"well, and a firewall holds up the control", "www", "RRR"},
		{"lost from the start", "ssss", "..LL"},
		{"lost later", "aasss", "RR..L"},
		{"twice is no proof", "ssassa", "..R..R"},
		{"silence that is interrupted by no answer at all is no proof", "ssussu", "......"},
		{"one answer does not find it again", "sssas", "..LLL"},
		{"two do", "sssaa", "..LLR"},
		{"two that are not in a row do not", "sssasasaa", "..LLLLLLR"},
		{"whoever answers nothing is not lost", "uuuu", "..??"},
		{"it was well, and is off", "auuu", "RRR?"},
		{"what is not known any more is not said any more", "sssuuu", "..LLL?"},
		{"and needs proof again", "sssuuuss", "..LLL?.."},
		{"a node that starts again", "auussa", "RRR..R"},
	} {
		t.Run(test.what, func(t *testing.T) {
			w, got := New("self"), ""
			for i := range len(test.heard) {
				asked := w.Next(peers(1))
				w.Hear(map[Peer]Answer{asked[0]: answers[test.heard[i]]})
				got += said(w.Verdict())
			}
			if got != test.want {
				t.Errorf("heard %s, said %s, want %s", test.heard, got, test.want)
			}
		})
	}
}

func TestNobodyToAsk(t *testing.T) {
	w := New("self")
	for range proof {
		w.Hear(map[Peer]Answer{w.Next(peers(1))[0]: answers['s']})
	}
	if asked := w.Next(nil); len(asked) != 0 || w.Busy() || said(w.Verdict()) != "N" {
		t.Errorf("asked %v, busy %t, said %s", asked, w.Busy(), said(w.Verdict()))
	}
}

// Whoever has another address, or is reached in another way, begins anew.
func TestAnotherWayIsAnotherPeer(t *testing.T) {
	w := New("self")
	for range proof {
		w.Hear(map[Peer]Answer{w.Next(peers(1))[0]: answers['s']})
	}
	w.Next([]Peer{peer(0).byVXLAN()})
	w.Hear(map[Peer]Answer{peer(0).byVXLAN(): answers['a'], peer(0): answers['s']}) // the second is late
	if v := w.Verdict(); said(v) != "R" || len(v.Lost) != 0 {
		t.Errorf("%+v", v)
	}
}

// world is a network of which the truth is known.
type world struct {
	t     *testing.T
	watch *Watch
	truth map[Peer]byte
	words []string // what the condition was, each time that it changed
}

func (w *world) round() []Peer {
	w.t.Helper()
	all := slices.SortedFunc(maps.Keys(w.truth), func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	asked := w.watch.Next(all)
	if want := min(perRound, len(all)); len(asked) != want {
		w.t.Fatalf("%d are asked, want %d", len(asked), want)
	}
	heard := map[Peer]Answer{}
	for _, p := range asked {
		heard[p] = answers[w.truth[p]]
	}
	if len(heard) != len(asked) {
		w.t.Fatalf("somebody is asked twice: %v", asked)
	}
	w.watch.Hear(heard)
	if c, says := w.watch.Verdict().Condition(port); says == SaysCondition {
		words := fmt.Sprint(c.Status, c.Reason, c.Message)
		if len(w.words) == 0 || w.words[len(w.words)-1] != words {
			w.words = append(w.words, words)
		}
	}
	return asked
}

// Whatever the network is like: who is said to be lost is, where somebody is lost it is found out, and when it is mended it is believed.
func TestTruth(t *testing.T) {
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 7))
		w := &world{t: t, watch: New("self"), truth: map[Peer]byte{}}
		lost := 0
		kinds := []string{"aaaaaaas", "as", "s", "u", "ua", "us", "aaasu"}[random.IntN(7)]
		for i := range 1 + random.IntN(60) {
			p := peer(i)
			p.Encapsulated = random.IntN(2) == 0
			w.truth[p] = kinds[random.IntN(len(kinds))]
			if w.truth[p] == 's' {
				lost++
			}
		}
		asked := map[Peer]bool{}
		for range 3 * (len(w.truth) + proof) {
			for _, p := range w.round() {
				asked[p] = true
			}
			for _, p := range w.watch.Verdict().Lost {
				if w.truth[p] != 's' {
					t.Fatalf("seed %d: %s is said to be lost, and is %c", seed, p.Name, w.truth[p])
				}
			}
		}
		if len(asked) != len(w.truth) {
			t.Fatalf("seed %d: %d of %d were asked", seed, len(asked), len(w.truth))
		}
		v := w.watch.Verdict()
		if len(v.Lost) != min(lost, mostLost) {
			t.Fatalf("seed %d: %d are lost, and known are %d", seed, lost, len(v.Lost))
		}
		for p := range w.truth {
			w.truth[p] = 'a'
		}
		for range 3 * (len(w.truth) + mostLost) {
			w.round()
		}
		if v := w.watch.Verdict(); said(v) != "R" || v.Routed+v.Encapsulated != len(w.truth) || w.watch.Busy() {
			t.Fatalf("seed %d: all is well, and known is %+v", seed, v)
		}
	}
}

// However many are lost, the condition says so within three rounds, is written a few times, and no more when nothing changes; and it goes
// soon after the network is mended.
func TestThousandPeersAreLost(t *testing.T) {
	w := &world{t: t, watch: New("self"), truth: map[Peer]byte{}}
	for _, p := range peers(1000) {
		w.truth[p] = 's'
	}
	for range proof {
		w.round()
	}
	if said(w.watch.Verdict()) != "L" {
		t.Errorf("not said after %d rounds: %+v", proof, w.watch.Verdict())
	}
	for range 300 {
		w.round()
	}
	if len(w.words) > mostNamed {
		t.Errorf("%d writes: %s", len(w.words), strings.Join(w.words, "\n"))
	}
	for p := range w.truth {
		w.truth[p] = 'a'
	}
	rounds := 0
	for ; said(w.watch.Verdict()) != "R" && rounds < 1000; rounds++ {
		w.round()
	}
	t.Logf("said %d times; believed %d rounds after it was mended", len(w.words), rounds)
	if len(w.watch.Verdict().Lost) > 0 || rounds > 20 {
		t.Errorf("mended, and still not believed after %d rounds: %+v", rounds, w.watch.Verdict())
	}
}

// Hundreds of nodes that start at once do not all ask the same ones.
func TestQuestionsAreSpread(t *testing.T) {
	got := map[string]int{}
	all := peers(500)
	for i := range all {
		for _, p := range New(fmt.Sprint("n", i)).Next(all) {
			got[p.Name]++
		}
	}
	if most := slices.Max(slices.Collect(maps.Values(got))); most > 40 {
		t.Errorf("one is asked by %d nodes at once", most)
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct {
		what    string
		verdict Verdict
		reason  string
		want    []string
	}{
		{"one of many", Verdict{Peers: 9, Routed: 8, Lost: peers(1)}, miniv1.ReasonRoutedPacketsLost,
			[]string{"without encapsulation to MiniPods of n0 are lost", "others are reached in this way", "--encapsulation=always"}},
		{"all", Verdict{Peers: 2, Lost: peers(2)}, miniv1.ReasonRoutedPacketsLost,
			[]string{"of n0, n1 are lost", "no node is reached in this way", "start all agents with --encapsulation=always", "sources and destinations"}},
		{"more than can be named", Verdict{Peers: 9, Lost: peers(9)}, miniv1.ReasonRoutedPacketsLost, []string{"of n0, n1, n2, n3, n4 and others are lost"}},
		{"VXLAN", Verdict{Peers: 2, Routed: 1, Lost: []Peer{peer(1).byVXLAN()}}, miniv1.ReasonEncapsulatedPacketsLost,
			[]string{"by VXLAN to MiniPods of n1 are lost", "no node is reached in this way", "let UDP 8473 pass"}},
		{"both", Verdict{Peers: 2, Lost: []Peer{peer(0), peer(1).byVXLAN()}}, miniv1.ReasonPacketsLost, []string{"of n0 are lost", "; packets by VXLAN to MiniPods of n1 are lost"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			c, says := test.verdict.Condition(port)
			if says != SaysCondition || c.Status != metav1.ConditionTrue || c.Reason != test.reason {
				t.Errorf("%+v", c)
			}
			for _, want := range test.want {
				if !strings.Contains(c.Message, want) {
					t.Errorf("want %q in %q", want, c.Message)
				}
			}
		})
	}
}
