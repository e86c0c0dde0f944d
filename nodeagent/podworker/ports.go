package podworker

import (
	"context"
	"strings"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/nodeagent/hostports"
)

const (
	// portsAgain is how long a MiniPod waits whose host port is taken before it is looked for again: nobody tells when it is free.
	portsAgain = 10 * time.Second
	// portsTimeout bounds the look.
	portsTimeout = 10 * time.Second
)

// portRefusal tells whether a host port of the MiniPod is somebody else's on this node. One that was let in keeps its ports, as does
// one that has containers; MiniPods without host ports are not looked at.
func (w *worker) portRefusal(ctx context.Context, pod *miniv1.MiniPod) *podsecurity.Refusal {
	if w.portsFree || w.pool.TakenPorts == nil || pod == nil || podstate.IsDeleting(pod) || podstate.IsFinished(pod) || len(w.observed.Containers) > 0 {
		return nil
	}
	wanted := hostPortsOf(pod)
	if len(wanted) == 0 {
		w.portsFree = true
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, portsTimeout)
	defer cancel()
	taken, err := w.pool.TakenPorts(ctx)
	if err != nil {
		return &podsecurity.Refusal{Reason: miniv1.ReasonHostPortTaken, Message: "cannot find out whether its host ports are free on this node: " + wordsOf(err)}
	}
	if conflict := taken.Conflict(wanted); conflict != "" {
		return &podsecurity.Refusal{Reason: miniv1.ReasonHostPortTaken,
			Message: conflict + "; it is started when the port is free. Choose another hostPort, or another node"}
	}
	w.portsFree = true
	return nil
}

// hostPortsOf are the ports of the node that are translated to the MiniPod. In the node's network none is: there the kernel tells a program
// whether it can have a port, and at which of the node's addresses.
func hostPortsOf(pod *miniv1.MiniPod) (out []hostports.Port) {
	if pod.Spec.HostNetwork {
		return nil
	}
	for kind, c := range pod.Spec.AllContainers() {
		for _, p := range c.Ports {
			if p.HostPort != 0 && kind.Lasts() {
				protocol := strings.ToLower(string(p.Protocol))
				if protocol == "" {
					protocol = "tcp"
				}
				out = append(out, hostports.Port{Protocol: protocol, Number: uint16(p.HostPort)})
			}
		}
	}
	return out
}

// portsUntil is when to plan again for a MiniPod that waits for a port.
func (w *worker) portsUntil(until, now time.Time) time.Time {
	if r := w.observed.Refusal; r == nil || r.Reason != miniv1.ReasonHostPortTaken {
		return until
	}
	if at := now.Add(portsAgain); until.IsZero() || at.Before(until) {
		return at
	}
	return until
}
