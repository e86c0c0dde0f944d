package ipam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"testing"
)

// A long random life of a pool against the simplest thing that can be right: a map.
func TestPoolAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		p, model := pool("10.0.0.0/25"), map[netip.Addr]string{}
		var held []netip.Addr
		for step := range 3000 {
			owner := strconv.Itoa(random.IntN(10))
			addr := address(number(netip.MustParseAddr("10.0.0.0")) + uint32(random.IntN(128)))
			switch random.IntN(5) {
			case 0:
				holder, taken := model[addr]
				usable := addr != netip.MustParseAddr("10.0.0.0") && addr != netip.MustParseAddr("10.0.0.127")
				want := usable && (!taken || holder == owner)
				if got := p.Reserve(addr, owner) == nil; got != want {
					t.Fatalf("seed %d step %d: reserve %v for %s: %v, want %v", seed, step, addr, owner, got, want)
				}
				if want && !taken {
					model[addr], held = owner, append(held, addr)
				}
			case 1, 2:
				got, err := p.Allocate(owner)
				if random.IntN(2) == 0 && err == nil {
					p.Release(got)
					got, err = p.AllocateRandom(owner, random.IntN)
				}
				if full := len(model) == 126; full != (err != nil) {
					t.Fatalf("seed %d step %d: %d held, %v", seed, step, len(model), err)
				}
				if err != nil {
					continue
				}
				if holder, taken := model[got]; taken {
					t.Fatalf("seed %d step %d: %v was given twice, to %s and %s", seed, step, got, holder, owner)
				}
				model[got], held = owner, append(held, got)
			default:
				if len(held) == 0 {
					continue
				}
				i := random.IntN(len(held))
				p.Release(held[i])
				delete(model, held[i])
				held[i] = held[len(held)-1]
				held = held[:len(held)-1]
			}
			if p.Free() != 126-len(model) {
				t.Fatalf("seed %d step %d: free %d, held %d", seed, step, p.Free(), len(model))
			}
		}
		for addr, owner := range model {
			if got, _ := p.Owner(addr); got != owner {
				t.Fatalf("seed %d: %v belongs to %q, want %q", seed, addr, got, owner)
			}
		}
	}
}

func TestSubnetsNeverOverlap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		s, given := NewSubnets(netip.MustParsePrefix("10.0.0.0/16"), 22), map[string]netip.Prefix{}
		for step := range 500 {
			owner := strconv.Itoa(random.IntN(80))
			if _, has := given[owner]; has {
				s.Release(owner)
				delete(given, owner)
				continue
			}
			subnet, err := s.Allocate(owner)
			if random.IntN(2) == 0 {
				s.Release(owner)
				subnet = netip.PrefixFrom(address(10<<24|uint32(random.IntN(1<<16))), 18+random.IntN(8)).Masked()
				err = s.Reserve(subnet, owner)
			}
			if conflict, ok := errors.AsType[*ConflictError](err); ok && !given[conflict.Owner].Overlaps(subnet) {
				t.Fatalf("seed %d step %d: %v is refused for %v of %s", seed, step, subnet, given[conflict.Owner], conflict.Owner)
			}
			if err != nil {
				continue
			}
			for other, held := range given {
				if held.Overlaps(subnet) {
					t.Fatalf("seed %d step %d: %v of %s overlaps %v of %s", seed, step, subnet, owner, held, other)
				}
			}
			given[owner] = subnet
		}
		for owner := range given {
			s.Release(owner)
		}
		if s.Free() != 64 {
			t.Errorf("seed %d: %d of 64 are free in the end", seed, s.Free())
		}
	}
}

func TestPortsAreGivenOnceToManyAtOnce(t *testing.T) {
	p := NewPorts(PortRange{30000, 30999})
	var mu sync.Mutex
	var wait sync.WaitGroup
	seen := map[Port]bool{}
	for worker := range 10 {
		wait.Go(func() {
			for range 100 {
				port, err := p.AllocateRandom("TCP", strconv.Itoa(worker), rand.IntN)
				mu.Lock()
				if err != nil || seen[port] {
					t.Errorf("%v: given before: %v, %v", port, seen[port], err)
				}
				seen[port] = true
				mu.Unlock()
			}
		})
	}
	wait.Wait()
}
