package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"miniplane.dev/miniplane/nodeagent/iptables/fake"
)

// scattered makes services of bytes: each has an address, ports of both protocols, backends on this node and elsewhere, perhaps an
// affinity, and a node port that it may have to share.
func scattered(data []byte) (out []Service) {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		n := int(data[0])
		data = data[1:]
		return n
	}
	for i := 0; len(data) > 0 && i < 8; i++ {
		s := svc(fmt.Sprintf("ns/s%d", i), fmt.Sprintf("100.96.%d.%d", next()%4, 1+i))
		if next()%4 == 0 {
			s = s.sticky(1 + next())
		}
		for j := range next() % 4 {
			p := Port{Protocol: []Protocol{TCP, UDP}[next()%2], Port: uint16(1 + 255*next()), Name: fmt.Sprint("p", j)}
			if next()%3 == 0 {
				p.NodePort = uint16(30000 + next())
			}
			for range next() % 5 {
				addr := netip.AddrFrom4([4]byte{100, 64, byte(4 * (next() % 3)), byte(2 + next()%200)})
				p.Backends = append(p.Backends, netip.AddrPortFrom(addr, uint16(1+next())))
			}
			s.Ports = append(s.Ports, p)
		}
		out = append(out, s)
	}
	return out
}

// Whatever the services are, iptables takes their rules, a connection goes to a backend of just what it asked for, or is refused
// where there is none; and when they are gone, so is everything of theirs.
func FuzzServices(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz0123456789"))
	f.Add([]byte{0, 0, 3, 2, 0, 1, 0, 7, 2, 0, 9, 80, 1, 9, 80, 1, 1, 3, 5, 1, 1})
	f.Add([]byte{1, 1, 2, 1, 0, 0, 1, 0, 0, 1, 1, 2, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		services := scattered(data)
		w := newWorld(t)
		before := w.tables.Dump()
		w.set(services...)
		for _, s := range services {
			for _, p := range s.Ports {
				first := slices.IndexFunc(s.Ports, func(o Port) bool { return o.Protocol == p.Protocol && o.Port == p.Port })
				if s.Ports[first].Name == p.Name { // of two that are the same the first counts; the API has no such services
					w.wantBackend(s, p)
				}
			}
		}
		for _, s := range services {
			w.rules.set("service/"+s.Name, contribution{})
		}
		w.apply()
		same(t, "what stays of services that are gone", before, w.tables.Dump())
	})
}

func (w *world) wantBackend(s Service, p Port) {
	w.t.Helper()
	dst := netip.AddrPortFrom(s.VIP, p.Port)
	got := w.send(string(p.Protocol), "100.64.0.9", dst.String())
	same(w.t, fmt.Sprintf("verdict for %s %s", p.Protocol, dst), true, fits(got, p))
}

func fits(got fake.Verdict, p Port) bool {
	if len(p.Backends) == 0 {
		return got.Refused
	}
	return !got.Refused && !got.Dropped && slices.Contains(p.Backends, got.Dst)
}
