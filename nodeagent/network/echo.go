package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/internal/fabric"
)

const (
	// echoTries is how often a peer is asked in one round, so that a packet that is lost by chance means nothing.
	echoTries = 3
	// echoWait is the wait for answers after each try; a packet around the world takes a third of it.
	echoWait = time.Second
)

// Echo implements Network, with ICMP echoes, which kernels answer: this node's own address in its range asks that of the peer, and its
// address as a node that of the peer as a node. It takes as long as the slowest answer, and echoTries times echoWait where one is
// missing.
func (n *Node) Echo(ctx context.Context, peers []fabric.Peer) (map[fabric.Peer]fabric.Answer, error) {
	heard := make(chan question)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	node, err := newEchoes(n.opts.NodeIP)
	if err != nil {
		return nil, err
	}
	defer node.close()
	way, err := newEchoes(n.own)
	if err != nil {
		return nil, err
	}
	defer way.close()
	open := map[question]bool{}
	for _, p := range peers {
		open[question{node, p.NodeIP}], open[question{way, p.Address}] = true, true
	}
	go node.listen(ctx, heard)
	go way.listen(ctx, heard)
	for try := range echoTries {
		for q := range open {
			q.ask(try)
		}
		if err := await(ctx, open, heard, n.echoWait); err != nil {
			return nil, err
		}
	}
	out := make(map[fabric.Peer]fabric.Answer, len(peers))
	for _, p := range peers {
		// What this machine itself did not let out says nothing of the network.
		held := way.held[p.Address] || node.held[p.NodeIP]
		out[p] = fabric.Answer{Node: !held && !open[question{node, p.NodeIP}], Way: !open[question{way, p.Address}]}
	}
	return out, nil
}

// await takes away what is answered, until all is, or for so long.
func await(ctx context.Context, open map[question]bool, heard <-chan question, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for len(open) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case q := <-heard:
			delete(open, q)
		}
	}
	return nil
}

// question is an address that is asked from another.
type question struct {
	by *echoes
	to netip.Addr
}

// ask sends one echo. That there is no route is silence; any other error is this machine's own.
func (q question) ask(try int) {
	echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: q.by.id, Seq: try, Data: []byte("miniplane")}}
	data, err := echo.Marshal(nil)
	if err == nil {
		_, err = q.by.conn.WriteTo(data, &net.IPAddr{IP: q.to.AsSlice()})
	}
	if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
		q.by.held[q.to] = true
	}
}

// echoes are asked from one address, and told from others' by their number.
type echoes struct {
	conn *icmp.PacketConn
	id   int
	// held are those to whom something could not be sent.
	held map[netip.Addr]bool
}

// newEchoes opens a socket of the calling thread's network namespace. It needs CAP_NET_RAW.
func newEchoes(from netip.Addr) (*echoes, error) {
	conn, err := icmp.ListenPacket("ip4:icmp", from.String())
	if err != nil {
		return nil, fmt.Errorf("network: asking from %s: %w", from, err)
	}
	filter := ipv4.ICMPFilter{}
	filter.SetAll(true)
	filter.Accept(ipv4.ICMPTypeEchoReply)
	if err := conn.IPv4PacketConn().SetICMPFilter(&filter); err != nil {
		return nil, errors.Join(fmt.Errorf("network: asking from %s: %w", from, err), conn.Close())
	}
	return &echoes{conn: conn, id: rand.IntN(1 << 16), held: map[netip.Addr]bool{}}, nil
}

func (e *echoes) close() { _ = e.conn.Close() }

// listen tells what is answered, until the socket is closed or ctx ends.
func (e *echoes) listen(ctx context.Context, heard chan<- question) {
	buf := make([]byte, 1500)
	for {
		size, from, err := e.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue
		}
		addr, ok := from.(*net.IPAddr)
		message, parsed := icmp.ParseMessage(unix.IPPROTO_ICMP, buf[:size])
		if !ok || parsed != nil {
			continue
		}
		echo, ok := message.Body.(*icmp.Echo)
		if !ok || echo.ID != e.id {
			continue
		}
		to, _ := netip.AddrFromSlice(addr.IP)
		select {
		case <-ctx.Done():
			return
		case heard <- question{e, to.Unmap()}:
		}
	}
}
