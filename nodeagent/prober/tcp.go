package prober

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

// newDialer makes connections that leave this machine's table of them a second after their end, not a minute: there are many.
func newDialer() *net.Dialer {
	return &net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1}) // it works without, too
		})
	}}
}

// askTCP succeeds when a connection is taken.
func (w *Watch) askTCP(ctx context.Context, action *miniv1.TCPSocketAction) (probe.Result, string) {
	address, err := w.target.address(action.Host, action.Port)
	if err != nil {
		return probe.Unknown, err.Error()
	}
	conn, err := w.prober.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return failed(err)
	}
	_ = conn.Close()
	return probe.Success, ""
}
