package ipam

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// Pool hands out the addresses of an IPv4 prefix, except the first and the last of it (in a /31 or /32, all of them).
type Pool struct {
	mu     sync.Mutex
	prefix netip.Prefix
	first  uint32 // the address of slot 0
	slots  slots
}

// New makes a pool of which nothing is given. A prefix that is not IPv4 makes a pool without any address.
func New(prefix netip.Prefix) *Pool {
	p := &Pool{prefix: prefix.Masked()}
	if !prefix.IsValid() || !prefix.Addr().Is4() {
		return p
	}
	size := 1 << (32 - prefix.Bits())
	p.first = number(p.prefix.Addr())
	if size > 2 {
		p.first, size = p.first+1, size-2
	}
	p.slots = newSlots(size)
	return p
}

// Prefix is the range of the pool.
func (p *Pool) Prefix() netip.Prefix { return p.prefix }

// Reserve gives this address to the owner. Errors: *ConflictError when another owner holds it, *RangeError when it is not
// one of the pool. Reserving again what one holds is no error.
func (p *Pool) Reserve(addr netip.Addr, owner string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.slot(addr)
	if !ok {
		return &RangeError{What: addr.String(), Range: p.usable()}
	}
	if holder, ok := p.slots.hold(i, owner); !ok {
		return &ConflictError{What: addr.String(), Owner: holder}
	}
	return nil
}

// Allocate gives the owner the next free address after the one allocated last, or ErrExhausted.
func (p *Pool) Allocate(owner string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken(p.slots.takeNext(owner))
}

// AllocateRandom gives the owner a free address, or ErrExhausted. Random(n) is a number from 0 to n-1. Addresses at the
// beginning of the range are given last, so that they stay free for those who ask for one.
func (p *Pool) AllocateRandom(owner string, random func(n int) int) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken(p.slots.takeRandom(staticBand(p.slots.n), random, owner))
}

// Release makes an address free, whoever held it. Nothing happens if it is not one of the pool, or is free.
func (p *Pool) Release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.slot(addr); ok {
		p.slots.release(i)
	}
}

// Owner tells who holds the address.
func (p *Pool) Owner(addr netip.Addr) (owner string, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.slot(addr)
	if !ok {
		return "", false
	}
	owner, held = p.slots.owners[i]
	return owner, held
}

// Free counts the addresses that nobody holds.
func (p *Pool) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots.n - len(p.slots.owners)
}

// usable is the range in words, without the addresses that are never given.
func (p *Pool) usable() string {
	if p.slots.n == 0 {
		return "of no address"
	}
	return address(p.first).String() + "-" + address(p.first+uint32(p.slots.n-1)).String()
}

func (p *Pool) slot(addr netip.Addr) (int, bool) {
	addr = addr.Unmap()
	if !addr.Is4() || !p.prefix.Contains(addr) {
		return 0, false
	}
	i := int(number(addr)) - int(p.first)
	return i, i >= 0 && i < p.slots.n
}

func (p *Pool) taken(i int, ok bool) (netip.Addr, error) {
	if !ok {
		return netip.Addr{}, ErrExhausted
	}
	return address(p.first + uint32(i)), nil
}

func number(addr netip.Addr) uint32 {
	bytes := addr.As4()
	return binary.BigEndian.Uint32(bytes[:])
}

func address(n uint32) netip.Addr {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], n)
	return netip.AddrFrom4(bytes)
}
