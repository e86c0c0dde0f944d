//go:build linux && cgo

package shim

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/ttrpcutil"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// publisher sends events to containerd, in order. While containerd is away it keeps trying for a while; what is lost then is
// found by whoever lists, which everybody does who lost the connection too.
type publisher struct {
	address, namespace string
	queue              chan queued
	client             *ttrpcutil.Client
}

// queued is an event on its way. When it was queued is by a clock that nobody sets; the envelope's time is not.
type queued struct {
	queued   time.Time
	envelope *types.Envelope
}

// keepTrying is how long an event is worth sending.
const keepTrying = 30 * time.Second

func newPublisher(address, namespace string) *publisher {
	p := &publisher{address: address, namespace: namespace, queue: make(chan queued, 4096)}
	go func() {
		for event := range p.queue {
			p.deliver(event)
		}
	}()
	return p
}

// send queues an event. A queue that is full means that containerd was away for long, and drops it.
func (p *publisher) send(event any) {
	body, err := typeurl.MarshalAnyToProto(event)
	if err != nil {
		fmt.Fprintln(os.Stderr, "event:", err)
		return
	}
	select {
	case p.queue <- queued{time.Now(), &types.Envelope{
		Timestamp: timestamppb.Now(), Namespace: p.namespace, Topic: topic(event), Event: body}}:
	default:
		fmt.Fprintln(os.Stderr, "event dropped:", topic(event))
	}
}

func (p *publisher) deliver(event queued) {
	envelope := event.envelope
	// containerd is back after a restart within seconds.
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := p.try(envelope)
		if err == nil {
			return
		}
		if time.Since(event.queued) > keepTrying {
			fmt.Fprintf(os.Stderr, "event %s dropped: %v\n", envelope.Topic, err)
			return
		}
		time.Sleep(pause) //nolint:forbidigo // nobody tells when containerd is back
	}
}

func (p *publisher) try(envelope *types.Envelope) error {
	if p.client == nil {
		client, err := ttrpcutil.NewClient(p.address)
		if err != nil {
			return err
		}
		p.client = client
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // then it is tried again
	defer cancel()
	service, err := p.client.EventsService()
	if err == nil {
		_, err = service.Forward(ctx, &eventsapi.ForwardRequest{Envelope: envelope})
	}
	if err != nil {
		_ = p.client.Close()
		p.client = nil
	}
	return err
}

func topic(event any) string {
	switch event.(type) {
	case *events.TaskCreate:
		return "/tasks/create"
	case *events.TaskStart:
		return "/tasks/start"
	case *events.TaskOOM:
		return "/tasks/oom"
	case *events.TaskExit:
		return "/tasks/exit"
	case *events.TaskDelete:
		return "/tasks/delete"
	case *events.TaskExecAdded:
		return "/tasks/exec-added"
	case *events.TaskExecStarted:
		return "/tasks/exec-started"
	case *events.TaskPaused:
		return "/tasks/paused"
	case *events.TaskResumed:
		return "/tasks/resumed"
	default:
		return "/tasks/?"
	}
}
