package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shape prints a tree with all that its chains say.
func shape(n *node, indent string) string {
	if n == nil {
		return ""
	}
	out := fmt.Sprintf("%s%s %d\n", indent, n.chain(), n.count)
	for _, e := range n.entries {
		out += fmt.Sprintf("%s  %v\n", indent, e.rules)
	}
	for _, kid := range n.kids {
		out += shape(kid, indent+"  ")
	}
	return out
}

func newTree() *tree {
	return &tree{kind: treeKind{table: "nat", name: "ROOT", prefix: "T-", match: matchDst}}
}

// replay edits a tree as fuzzed bytes say: each three bytes put or remove a key of few that are dense.
func replay(data []byte) (*tree, map[uint32][]string) {
	t, want := newTree(), map[uint32][]string{}
	for len(data) >= 3 {
		key := uint32(data[0]&3)<<30 | uint32(data[1])<<8 | uint32(data[2]>>5)
		if data[2]&1 == 0 {
			rules := []string{fmt.Sprintf("rule %x %d", key, data[2]&2)}
			t.set(key, rules)
			want[key] = rules
		} else {
			t.set(key, nil)
			delete(want, key)
		}
		data = data[3:]
	}
	return t, want
}

// The shape of a tree is that of one built at once from what is left in it.
func checkShape(t *testing.T, data []byte) {
	t.Helper()
	got, want := replay(data)
	var entries []entry
	for key, rules := range want {
		entries = append(entries, entry{key, rules})
	}
	slices.SortFunc(entries, func(a, b entry) int { return int(int64(a.key) - int64(b.key)) })
	fresh := newTree()
	fresh.root = (&editor{kind: &fresh.kind}).build(slot{}, entries)
	if diff := cmp.Diff(shape(fresh.root, ""), shape(got.root, "")); diff != "" {
		t.Errorf("shape (-at once +edited):\n%s", diff)
	}
}

func FuzzTreeShape(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz0123456789"))
	f.Fuzz(func(t *testing.T, data []byte) { checkShape(t, data) })
}

func TestTreeShape(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		data := make([]byte, 3*random.IntN(400))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		checkShape(t, data)
	}
}

func TestPortMatch(t *testing.T) {
	match := matchPort(TCP)
	got := []string{match(portKey(30000), 16), match(portKey(30000), 12), match(0, 0)}
	want := []string{"-p tcp -m tcp --dport 30000:30000", "-p tcp -m tcp --dport 30000:30015", "-p tcp -m tcp --dport 0:65535"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
