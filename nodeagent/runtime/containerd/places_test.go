package containerd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"miniplane.dev/miniplane/test/testenv"
)

func uid(n int) string { return fmt.Sprintf("%08d-2222-3333-4444-555555555555", n) }

func nobody(int) bool { return false }

// TestPlaces: containers of one MiniPod have one server, no server has more MiniPods than it may, as few servers as may be are used,
// and an agent that reads the records places as the one that wrote them, whatever came and went.
func TestPlaces(t *testing.T) {
	const most = 8
	p, random := newPlaces(most), rand.New(rand.NewPCG(1, 2))
	where := map[string]int{}
	var live []int
	for i := range 4000 {
		if len(live) > 0 && (random.IntN(2) == 0 || len(live) > 150) {
			n := random.IntN(len(live))
			for _, c := range []string{"a", "b"} {
				p.leave(uid(live[n]) + "-" + c)
				delete(where, uid(live[n])+"-"+c)
			}
			live = append(live[:n], live[n+1:]...)
		} else {
			live = append(live, i)
			for _, c := range []string{"a", "b"} {
				where[uid(i)+"-"+c] = p.take(uid(i)+"-"+c, nobody)
			}
			if where[uid(i)+"-a"] != where[uid(i)+"-b"] {
				t.Fatal("one MiniPod has two servers")
			}
			if wanted := max(leastServers, (len(live)+most-1)/most); where[uid(i)+"-a"] >= wanted {
				t.Fatalf("MiniPod %d of %d in server %d, when %d are enough", len(live), len(live), where[uid(i)+"-a"], wanted)
			}
		}
		for server, load := range p.loads() {
			if load > most {
				t.Fatalf("server %d has %d MiniPods", server, load)
			}
		}
		again := newPlaces(most)
		for id, server := range where {
			again.put(id, server)
		}
		if got, want := again.choose(nobody), p.choose(nobody); got != want {
			t.Fatalf("the next agent chooses %d, this one %d", got, want)
		}
	}
}

// TestPlacesAreFew: where all other servers do not answer, the one that does gets no more than it may have either.
func TestPlacesAreFew(t *testing.T) {
	p := newPlaces(2)
	for i := range 8 {
		p.take(uid(i), func(server int) bool { return server != 0 })
	}
	if loads := p.loads(); slices.Max(loads) > 2 {
		t.Errorf("servers have %v MiniPods, and may have 2", loads)
	}
}

// TestServersOfANode: a server of a node has 32 MiniPods at most, which is how many one that hangs concerns; and the metric says how many servers there are.
func TestServersOfANode(t *testing.T) {
	r := &Runtime{places: newPlaces(groupsPerServer), opts: Options{Shim: t.TempDir()}}
	for i := range leastServers*32 + 1 {
		if _, err := r.runtimeOf(t.Context(), uid(i)+"-main-0"); err != nil {
			t.Fatal(err)
		}
	}
	if loads := r.places.loads(); slices.Max(loads) != 32 || len(loads) != leastServers+1 {
		t.Errorf("servers have %v MiniPods", loads)
	}
	if got := testenv.Counted(t, "miniplane_agent_shim_servers"); got != leastServers+1 {
		t.Errorf("the metric says %v servers", got)
	}
}

// TestPlacesSpread: the first few servers are used side by side, and a further one is begun when they are full.
func TestPlacesSpread(t *testing.T) {
	p := newPlaces(2)
	for i, want := range []int{0, 1, 2, 3, 0, 1, 2, 3, 4} {
		if got := p.take(uid(i), nobody); got != want {
			t.Fatalf("MiniPod %d: server %d, want %d", i, got, want)
		}
	}
	if p.servers() != 5 {
		t.Errorf("%d servers", p.servers())
	}
}

// TestPlacesAvoid: who does not answer gets nothing new while another has room; not more servers than a few are begun for it; and a
// MiniPod that is somewhere stays there.
func TestPlacesAvoid(t *testing.T) {
	p := newPlaces(4)
	first := p.take(uid(0)+"-a", nobody)
	avoid := func(s int) bool { return s == first }
	for i := range 10 {
		if got := p.take(uid(i+1), avoid); got == first {
			t.Errorf("MiniPod %d in the server that is avoided", i+1)
		}
	}
	if got := p.take(uid(0)+"-b", avoid); got != first {
		t.Errorf("its second container in %d", got)
	}
	all := func(int) bool { return true }
	for i := range 20 {
		p.take(uid(i+100), all)
	}
	if most := (31 + 3) / 4; p.servers() > most+spareServers {
		t.Errorf("%d servers for 31 MiniPods", p.servers())
	}
}

func TestServerOf(t *testing.T) {
	const shim = "/root/bin/shim-0123456789ab"
	for name, want := range map[string]int{
		shim + "/0/" + shimName: 0, shim + "/31/" + shimName: 31, shim + "/" + shimName: -1, shim + "/x/" + shimName: -1,
		"/root/bin/shim-other/3/" + shimName: -1, runtimeName: -1, "": -1, shim + "/3/other": -1, shim + "/-1/" + shimName: -1,
	} {
		if got, ok := serverOf(name, shim); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %t", name, got, ok)
		}
	}
	if _, ok := serverOf(runtimeName, ""); ok {
		t.Error("there is no shim")
	}
}
