package ipam

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pool(text string) *Pool { return New(netip.MustParsePrefix(text)) }

func TestPoolGivesEveryAddressOnceAndGoesRound(t *testing.T) {
	tests := []struct {
		prefix string
		want   []string
	}{
		{"10.0.0.0/29", []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{"10.0.0.77/30", []string{"10.0.0.77", "10.0.0.78"}},
		{"10.0.0.8/31", []string{"10.0.0.8", "10.0.0.9"}},
		{"10.0.0.8/32", []string{"10.0.0.8"}},
		{"fd00::/120", nil},
	}
	for _, test := range tests {
		t.Run(test.prefix, func(t *testing.T) {
			p := pool(test.prefix)
			var got []string
			for {
				addr, err := p.Allocate("owner")
				if errors.Is(err, ErrExhausted) {
					break
				}
				got = append(got, addr.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if p.Free() != 0 {
				t.Errorf("free: %d", p.Free())
			}
		})
	}
}

func TestPoolUsesReleasedAddressesLast(t *testing.T) {
	p := pool("10.0.0.0/29")
	first, _ := p.Allocate("a")
	p.Release(first)
	if second, _ := p.Allocate("b"); second == first {
		t.Errorf("%v was used again at once", first)
	}
}

func TestPoolReserve(t *testing.T) {
	p := pool("10.0.0.0/29")
	if err := p.Reserve(netip.MustParseAddr("10.0.0.3"), "ns/a"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		addr, owner string
		want        string
	}{
		{"10.0.0.3", "ns/a", ""},
		{"10.0.0.3", "ns/b", "10.0.0.3 is held by ns/a"},
		{"::ffff:10.0.0.3", "ns/b", "::ffff:10.0.0.3 is held by ns/a"},
		{"10.0.0.0", "ns/b", "10.0.0.0 is not in the range 10.0.0.1-10.0.0.6"},
		{"10.0.0.7", "ns/b", "10.0.0.7 is not in the range 10.0.0.1-10.0.0.6"},
		{"10.0.1.3", "ns/b", "10.0.1.3 is not in the range 10.0.0.1-10.0.0.6"},
		{"fd00::1", "ns/b", "fd00::1 is not in the range 10.0.0.1-10.0.0.6"},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, text(p.Reserve(netip.MustParseAddr(test.addr), test.owner))); diff != "" {
			t.Error(diff)
		}
	}
	var conflict *ConflictError
	if !errors.As(p.Reserve(netip.MustParseAddr("10.0.0.3"), "ns/b"), &conflict) || conflict.Owner != "ns/a" {
		t.Error("a conflict should be data")
	}
	if got := text(pool("fd00::/64").Reserve(netip.MustParseAddr("fd00::1"), "a")); got != "fd00::1 is not in the range of no address" {
		t.Error(got)
	}
}

func TestPoolOwnerAndRelease(t *testing.T) {
	p := pool("10.0.0.0/24")
	addr := netip.MustParseAddr("10.0.0.9")
	if _, held := p.Owner(addr); held {
		t.Error("held before anybody reserved")
	}
	_ = p.Reserve(addr, "a")
	if owner, held := p.Owner(addr); !held || owner != "a" {
		t.Errorf("owner %q, held %v", owner, held)
	}
	p.Release(addr)
	p.Release(addr)
	p.Release(netip.MustParseAddr("10.9.0.9"))
	if _, held := p.Owner(addr); held {
		t.Error("held after release")
	}
	if _, held := p.Owner(netip.MustParseAddr("10.9.0.9")); held {
		t.Error("an address of another range is held")
	}
	if p.Free() != 254 || p.Prefix().String() != "10.0.0.0/24" {
		t.Errorf("free %d of %v", p.Free(), p.Prefix())
	}
}

func TestRandomAllocationKeepsTheFirstAddressesForThoseWhoAsk(t *testing.T) {
	p := pool("10.0.0.0/26") // 62 addresses, the first 16 kept
	last := func(n int) int { return n - 1 }
	seen := map[netip.Addr]bool{}
	for i := range 62 {
		addr, err := p.AllocateRandom("x", last)
		if err != nil || seen[addr] {
			t.Fatalf("allocation %d: %v, again %v, %v", i, addr, seen[addr], err)
		}
		seen[addr] = true
		static := addr.Less(netip.MustParseAddr("10.0.0.17"))
		if static != (i >= 46) {
			t.Errorf("allocation %d gave %v", i, addr)
		}
	}
	if _, err := p.AllocateRandom("x", last); !errors.Is(err, ErrExhausted) {
		t.Error(err)
	}
	if addr, err := pool("10.0.0.0/28").AllocateRandom("x", last); err != nil || addr.String() != "10.0.0.14" {
		t.Error("small ranges keep nothing:", addr, err)
	}
}

func TestSubnetsAllocate(t *testing.T) {
	s := NewSubnets(netip.MustParsePrefix("100.64.0.0/20"), 22)
	var got []string
	for owner := 'a'; ; owner++ {
		subnet, err := s.Allocate(string(owner))
		if errors.Is(err, ErrExhausted) {
			break
		}
		got = append(got, subnet.String())
	}
	want := []string{"100.64.0.0/22", "100.64.4.0/22", "100.64.8.0/22", "100.64.12.0/22"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again, err := s.Allocate("b"); err != nil || again.String() != "100.64.4.0/22" {
		t.Error("an owner has one range, not", again, err)
	}
	s.Release("b")
	s.Release("b")
	if s.Free() != 1 {
		t.Errorf("free after release: %d", s.Free())
	}
	if err := s.Reserve(netip.MustParsePrefix("100.64.4.0/22"), "a"); err != nil || s.Free() != 1 {
		t.Errorf("another range takes the place of the first: free %d, %v", s.Free(), err)
	}
	for _, none := range []*Subnets{NewSubnets(netip.MustParsePrefix("10.0.0.0/24"), 22), NewSubnets(netip.Prefix{}, 22),
		NewSubnets(netip.MustParsePrefix("fd00::/24"), 22)} {
		if _, err := none.Allocate("n"); !errors.Is(err, ErrExhausted) {
			t.Error("no range should fit:", err)
		}
	}
}

func TestSubnetsReserve(t *testing.T) {
	s := NewSubnets(netip.MustParsePrefix("100.64.0.0/11"), 22)
	tests := []struct {
		subnet, owner, want string
		free                int
	}{
		{"100.64.4.0/22", "a", "", 2047},
		{"100.64.4.0/22", "a", "", 2047},
		{"100.64.4.0/22", "b", "100.64.4.0/22 is held by a", 2047},
		{"100.64.5.128/25", "b", "100.64.5.128/25 is held by a", 2047},
		{"100.64.0.0/20", "b", "100.64.0.0/20 is held by a", 2047},
		{"100.64.16.0/20", "b", "", 2043},
		{"100.64.20.0/22", "c", "100.64.20.0/22 is held by b", 2043},
		{"100.95.255.0/24", "d", "", 2042},
		{"100.95.252.0/24", "f", "", 2042}, // nodes from before a change of the size share what would be given now
		{"100.95.255.0/25", "g", "100.95.255.0/25 is held by d", 2042},
		{"100.95.252.0/22", "g", "100.95.252.0/22 is held by d", 2042},
		{"100.96.0.0/22", "d", "100.96.0.0/22 is not in the range 100.64.0.0/11", 2042},
		{"100.0.0.0/8", "d", "100.0.0.0/8 is not in the range 100.64.0.0/11", 2042},
		{"fd00::/64", "d", "fd00::/64 is not in the range 100.64.0.0/11", 2042},
	}
	for _, test := range tests {
		err := s.Reserve(netip.MustParsePrefix(test.subnet), test.owner)
		if text(err) != test.want || s.Free() != test.free {
			t.Errorf("%s for %s: %q, free %d; want %q, %d", test.subnet, test.owner, text(err), s.Free(), test.want, test.free)
		}
	}
	if next, _ := s.Allocate("e"); next.String() != "100.64.0.0/22" || s.Prefix().Bits() != 11 {
		t.Error("first free range:", next)
	}
	s.Release("d")
	same := s.Free()
	s.Release("f")
	if same != 2041 || s.Free() != 2042 {
		t.Errorf("free after one of two went: %d, after the other: %d", same, s.Free())
	}
}

func TestPortsReserveAndRelease(t *testing.T) {
	p := NewPorts(PortRange{30000, 32767})
	tests := []struct {
		port        Port
		owner, want string
	}{
		{Port{"TCP", 30080}, "ns/a", ""},
		{Port{"TCP", 30080}, "ns/a", ""},
		{Port{"TCP", 30080}, "ns/b", "30080/TCP is held by ns/a"},
		{Port{"UDP", 30080}, "ns/b", ""},
		{Port{"TCP", 29999}, "ns/b", "29999/TCP is not in the range 30000-32767"},
		{Port{"UDP", 32768}, "ns/b", "32768/UDP is not in the range 30000-32767"},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, text(p.Reserve(test.port, test.owner))); diff != "" {
			t.Error(diff)
		}
	}
	if owner, held := p.Owner(Port{"TCP", 30080}); !held || owner != "ns/a" {
		t.Errorf("owner %q, held %v", owner, held)
	}
	p.Release(Port{"TCP", 30080})
	p.Release(Port{"TCP", 1})
	if _, held := p.Owner(Port{"TCP", 30080}); held {
		t.Error("held after release")
	}
	if owner, held := p.Owner(Port{"UDP", 30080}); !held || owner != "ns/b" {
		t.Error("released in the other protocol")
	}
	if _, held := p.Owner(Port{"TCP", 1}); held {
		t.Error("a port outside the range is held")
	}
}

func TestPortsAllocate(t *testing.T) {
	p := NewPorts(PortRange{30000, 30002})
	zero := func(int) int { return 0 }
	var got []int32
	for {
		port, err := p.AllocateRandom("TCP", "x", zero)
		if errors.Is(err, ErrExhausted) {
			break
		}
		got = append(got, port.Number)
	}
	if diff := cmp.Diff([]int32{30000, 30001, 30002}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := p.AllocateRandom("UDP", "x", zero); err != nil {
		t.Error("udp has its own ports:", err)
	}
}

func TestParsePortRange(t *testing.T) {
	tests := []struct {
		text string
		want string
	}{
		{"30000-32767", "30000-32767"},
		{"80-80", "80-80"},
		{"32767-30000", `"32767-30000" is not a range of ports such as 30000-32767`},
		{"0-10", `"0-10" is not a range of ports such as 30000-32767`},
		{"1-65536", `"1-65536" is not a range of ports such as 30000-32767`},
		{"30000", `"30000" is not a range of ports such as 30000-32767`},
		{"a-b", `"a-b" is not a range of ports such as 30000-32767`},
	}
	for _, test := range tests {
		r, err := ParsePortRange(test.text)
		got := r.String()
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
