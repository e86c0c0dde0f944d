package ipam

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last int32 }

// ParsePortRange reads "30000-32767".
func ParsePortRange(text string) (PortRange, error) {
	first, last, ok := strings.Cut(text, "-")
	var r PortRange
	for _, part := range []struct {
		text string
		into *int32
	}{{first, &r.First}, {last, &r.Last}} {
		n, err := strconv.ParseUint(part.text, 10, 16)
		ok = ok && err == nil && n > 0
		*part.into = int32(n)
	}
	if !ok || r.First > r.Last {
		return PortRange{}, fmt.Errorf("%q is not a range of ports such as 30000-32767", text)
	}
	return r, nil
}

func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Port is one port of one protocol; the same number can be given once per protocol.
type Port struct {
	// Protocol, as in "TCP".
	Protocol string
	Number   int32
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Protocol) }

// Ports hands out the ports of a range, for every protocol separately.
type Ports struct {
	mu     sync.Mutex
	ports  PortRange
	protos map[string]*slots
}

// NewPorts makes an allocator of which nothing is given.
func NewPorts(ports PortRange) *Ports { return &Ports{ports: ports, protos: map[string]*slots{}} }

// Range is what the allocator gives.
func (p *Ports) Range() PortRange { return p.ports }

// Reserve gives this port to the owner. Errors: *ConflictError when another owner holds it, *RangeError when it is outside
// the range. Reserving again what one holds is no error.
func (p *Ports) Reserve(port Port, owner string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.contains(port) {
		return &RangeError{What: port.String(), Range: p.ports.String()}
	}
	if holder, ok := p.of(port.Protocol).hold(int(port.Number-p.ports.First), owner); !ok {
		return &ConflictError{What: port.String(), Owner: holder}
	}
	return nil
}

// AllocateRandom gives the owner a free port of the protocol, or ErrExhausted. Random(n) is a number from 0 to n-1. Ports
// at the beginning of the range are given last, so that they stay free for those who ask for one.
func (p *Ports) AllocateRandom(protocol, owner string, random func(n int) int) (Port, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of(protocol)
	i, ok := s.takeRandom(staticBand(s.n), random, owner)
	if !ok {
		return Port{}, ErrExhausted
	}
	return Port{Protocol: protocol, Number: p.ports.First + int32(i)}, nil
}

// Release makes a port free, whoever held it. Nothing happens if it is outside the range, or is free.
func (p *Ports) Release(port Port) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.contains(port) {
		p.of(port.Protocol).release(int(port.Number - p.ports.First))
	}
}

// Owner tells who holds the port.
func (p *Ports) Owner(port Port) (owner string, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.contains(port) {
		return "", false
	}
	owner, held = p.of(port.Protocol).owners[int(port.Number-p.ports.First)]
	return owner, held
}

func (p *Ports) contains(port Port) bool {
	return port.Number >= p.ports.First && port.Number <= p.ports.Last
}

func (p *Ports) of(protocol string) *slots {
	s, ok := p.protos[protocol]
	if !ok {
		made := newSlots(int(p.ports.Last-p.ports.First) + 1)
		s = &made
		p.protos[protocol] = s
	}
	return s
}
