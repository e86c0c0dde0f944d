package prober

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/ask"
)

const (
	// late is by how much a deadline may be missed for the silence until then to be the container's. Where it is missed by more, this
	// process did not run when the answer may have come.
	late = 200 * time.Millisecond
	// maxWords bounds what is told of an answer.
	maxWords = 1024
)

// ask runs one probe and tells what came of it, in words where people should know them.
func (w *Watch) ask(kind miniv1.ProbeKind) (probe.Result, string) {
	p := probeOf(w.target.Spec, kind)
	timeout := probe.SettingsOf(p).Timeout
	start := time.Now()
	var result probe.Result
	var words, by string
	switch {
	case p.Exec != nil:
		by = "exec"
		result, words = w.askExec(p.Exec, timeout)
	case p.HTTPGet != nil:
		by = "http"
		result, words = w.within(timeout, func(ctx context.Context) (probe.Result, string) { return w.askHTTP(ctx, p.HTTPGet) })
	case p.TCPSocket != nil:
		by = "tcp"
		result, words = w.within(timeout, func(ctx context.Context) (probe.Result, string) { return w.askTCP(ctx, p.TCPSocket) })
	case p.GRPC != nil:
		by = "grpc"
		result, words = w.within(timeout, func(ctx context.Context) (probe.Result, string) { return w.askGRPC(ctx, p.GRPC) })
	}
	measure(kind, by, result, time.Since(start))
	return result, conditions.Clip(words, maxWords)
}

func probeOf(c *miniv1.Container, kind miniv1.ProbeKind) *miniv1.Probe {
	for k, p := range c.Probes() {
		if k == kind {
			return p
		}
	}
	return &miniv1.Probe{}
}

// within gives who asks a time. A failure is no result where the time was over by much when this process took notice.
func (w *Watch) within(timeout time.Duration, ask func(context.Context) (probe.Result, string)) (probe.Result, string) {
	deadline := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(w.ctx, deadline)
	defer cancel()
	result, words := ask(ctx)
	if result != probe.Failure || ctx.Err() == nil {
		return result, words
	}
	if time.Since(deadline) > late {
		return probe.Unknown, ""
	}
	return result, words
}

// failed is what an error of somebody who was to answer means.
func failed(err error) (probe.Result, string) {
	for _, own := range []syscall.Errno{unix.EADDRNOTAVAIL, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ENETUNREACH, unix.EPERM} {
		if errors.Is(err, own) {
			return probe.Unknown, err.Error() // nobody was asked
		}
	}
	return probe.Failure, err.Error()
}

// asked is where the container is asked.
func (t *Target) asked() ask.Target { return ask.Target{Spec: t.Spec, Address: t.Address} }
