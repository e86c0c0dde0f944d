package prober

import (
	"context"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

// askTCP succeeds when a connection is taken.
func (w *Watch) askTCP(ctx context.Context, action *miniv1.TCPSocketAction) (probe.Result, string) {
	address, err := w.target.asked().At(action.Host, action.Port)
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
