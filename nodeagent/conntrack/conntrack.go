// Package conntrack makes the kernel forget flows. A UDP flow has no end: as long as its client goes on sending, the
// kernel goes on translating its addresses as it decided for the first packet, be the backend gone or not. Whoever takes
// away a backend or an address therefore deletes the flows that know it.
//
// The kernel finds such flows only by walking its whole table, which takes milliseconds even when it is empty. Calls that
// arrive during a walk share the next one; in a table with Rest also those that arrive for a while after it, so that the end of
// a hundred MiniPods costs a few walks and not a hundred.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/coalesce"
)

// Flow is a UDP flow: the addresses of its first packet, and those of the answers it expects. Where they are not mirror
// images the flow is translated.
type Flow struct {
	Src, Dst           netip.AddrPort
	ReplySrc, ReplyDst netip.AddrPort
}

// Match chooses flows. It must not keep the Flow.
type Match func(Flow) bool

// Touches chooses the flows from, to or through the address.
func Touches(addr netip.Addr) Match {
	return func(f Flow) bool {
		return f.Src.Addr() == addr || f.Dst.Addr() == addr || f.ReplySrc.Addr() == addr || f.ReplyDst.Addr() == addr
	}
}

// Any chooses what one of the matches chooses.
func Any(matches ...Match) Match {
	return func(f Flow) bool {
		for _, match := range matches {
			if match(f) {
				return true
			}
		}
		return false
	}
}

// Table is the flow table of one network namespace. It is safe for concurrent use.
type Table struct {
	handle *netlink.Handle
	walks  coalesce.Batcher[Match]
}

// Open opens the table of the calling thread's network namespace. rest is Rest, or nil for whoever holds up other work while it
// waits: then a walk begins as soon as the last one is over.
func Open(rest func(took time.Duration) time.Duration) (*Table, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("conntrack: opening netlink: %w", err)
	}
	t := &Table{handle: handle}
	t.walks.Run, t.walks.Rest = t.walk, rest
	return t, nil
}

// Rest lets walks take a tenth of the time, and nobody wait for long.
func Rest(took time.Duration) time.Duration { return min(9*took, 500*time.Millisecond) }

// Close gives the kernel's socket back.
func (t *Table) Close() { t.handle.Close() }

// DeleteUDP deletes the UDP flows that match chooses. It returns when they are gone. It may be called again after an
// error.
func (t *Table) DeleteUDP(ctx context.Context, match Match) error { return t.walks.Do(ctx, match) }

func (t *Table) walk(matches []Match) error {
	_, err := t.handle.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, udp(Any(matches...)))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("conntrack: deleting UDP flows: %w", err)
	}
	return nil
}

// udp lets a Match see a kernel's flow.
type udp Match

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m udp) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	return m(Flow{
		Src: addrPort(f.Forward.SrcIP, f.Forward.SrcPort), Dst: addrPort(f.Forward.DstIP, f.Forward.DstPort),
		ReplySrc: addrPort(f.Reverse.SrcIP, f.Reverse.SrcPort), ReplyDst: addrPort(f.Reverse.DstIP, f.Reverse.DstPort),
	})
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}
