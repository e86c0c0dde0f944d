package containerd

import (
	"context"
	"sync"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Events implements runtime.Runtime. The channel closes when ctx ends or the connection is lost.
func (r *Runtime) Events(ctx context.Context) (<-chan runtime.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	// Fails here and now if containerd does not answer, and not only at the first event.
	if _, err := r.client.Version(ctx); err != nil {
		cancel()
		return nil, native(err)
	}
	var filters []string
	for _, topic := range []string{"/tasks/start", "/tasks/exit", "/tasks/oom", "/containers/delete"} {
		filters = append(filters, `topic=="`+topic+`",namespace=="`+r.opts.Namespace+`"`)
	}
	envelopes, lost := r.client.EventService().Subscribe(ctx, filters...)
	out := make(chan runtime.Event, 64)
	ends, unsubscribe := r.hearEnds()
	go func() {
		defer cancel()
		defer unsubscribe()
		var working sync.WaitGroup
		defer func() { working.Wait(); close(out) }()
		for {
			select {
			case envelope := <-envelopes:
				r.dispatch(ctx, envelope, out, &working)
			case end := <-ends:
				select {
				case out <- end:
				case <-ctx.Done():
				}
			case <-lost: //nolint:errcheck // whatever the reason, the caller lists and subscribes again
				return
			}
		}
	}()
	return out, nil
}

// dispatch tells of one event. Exits take their time in parallel: a logger must have written before an exit is told.
func (r *Runtime) dispatch(ctx context.Context, envelope *events.Envelope, out chan<- runtime.Event, working *sync.WaitGroup) {
	body, err := typeurl.UnmarshalAny(envelope.Event)
	if err != nil {
		return
	}
	send := func(kind runtime.EventType, id string, at time.Time) {
		select {
		case out <- runtime.Event{Type: kind, ContainerID: id, Time: at}:
		case <-ctx.Done():
		}
	}
	switch e := body.(type) {
	case *apievents.TaskStart:
		send(runtime.EventStarted, e.ContainerID, envelope.Timestamp)
	case *apievents.TaskOOM:
		r.mu.Lock()
		r.ooms[e.ContainerID] = true
		r.mu.Unlock()
		send(runtime.EventOOM, e.ContainerID, envelope.Timestamp)
	case *apievents.TaskExit:
		if e.ID != e.ContainerID {
			return // of a command that was run in the container
		}
		working.Go(func() {
			r.exited(ctx, e.ContainerID, int(e.ExitStatus), e.ExitedAt.AsTime())
			send(runtime.EventExited, e.ContainerID, e.ExitedAt.AsTime())
		})
	case *apievents.ContainerDelete:
		send(runtime.EventDeleted, e.ID, envelope.Timestamp)
	}
}
