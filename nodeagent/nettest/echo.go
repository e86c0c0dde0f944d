package nettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Serve answers on the address, tcp and udp, with "<name> <address of the client as seen>" to each connection or packet,
// until the test ends.
func (n *NS) Serve(name, addr string) {
	n.t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	n.Do(func() {
		var err error
		tcp, err = net.Listen("tcp", addr)
		check(n.t, err)
		udp, err = net.ListenPacket("udp", addr)
		check(n.t, err)
	})
	n.t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			go serveConn(conn, name)
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte(answer(name, from)), from)
		}
	}()
}

func answer(name string, from net.Addr) string {
	host, _, _ := net.SplitHostPort(from.String())
	return name + " " + host
}

// serveConn answers once for each line.
func serveConn(conn net.Conn, name string) {
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 64)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		if _, err := io.WriteString(conn, answer(name, conn.RemoteAddr())); err != nil {
			return
		}
	}
}

// Conn is a client's end.
type Conn struct{ net.Conn }

// Dial connects from inside the namespace.
func (n *NS) Dial(network, addr string) (Conn, error) {
	var conn net.Conn
	var err error
	n.Do(func() { conn, err = dial(network, addr) })
	if err != nil {
		return Conn{}, err
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	return Conn{conn}, nil
}

// Connect is Dial for functions that are in the namespace already.
func Connect(network, addr string) (net.Conn, error) { return dial(network, addr) }

// dial stays on the calling thread, which net.Dialer does not promise to do for names; for addresses it does.
func dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// Ask sends a line and returns who answered, and which address of the client it saw.
func (c Conn) Ask() (server, client string, err error) {
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(c, "?"); err != nil {
		return "", "", err
	}
	buf := make([]byte, 128)
	k, err := c.Read(buf)
	if err != nil {
		return "", "", err
	}
	server, client, ok := strings.Cut(string(buf[:k]), " ")
	if !ok {
		return "", "", fmt.Errorf("nettest: strange answer %q", buf[:k])
	}
	return server, client, nil
}

// Ask connects, asks once and closes.
func (n *NS) Ask(network, addr string) (server, client string, err error) {
	conn, err := n.Dial(network, addr)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = conn.Close() }()
	return conn.Ask()
}

// Refused tells that an error is a refusal, rather than silence. What a filter refuses on the sender's own node is not
// permitted.
func Refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPERM)
}
