package main

import (
	"context"
	"fmt"

	eventtypes "github.com/containerd/containerd/api/events"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
)

// records follows what containerd knows of the containers of our namespace, by its events.
type records struct {
	client *containerd.Client
	there  map[string]bool
	events <-chan *events.Envelope
	errs   <-chan error
	stop   context.CancelFunc
}

// socket is containerd's, of a node of a local or a full cluster.
func (b *bench) socket() string { return "/run/miniplane-local/" + b.node + "/containerd.sock" }

func (b *bench) followRecords(ctx context.Context, s side) (*records, error) {
	namespace, label := s.records()
	client, err := containerd.New(b.socket(), containerd.WithDefaultNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("containerd of %s: %w", b.node, err)
	}
	ctx, stop := context.WithCancel(ctx)
	r := &records{client: client, stop: stop, there: map[string]bool{}}
	r.events, r.errs = client.EventService().Subscribe(ctx, fmt.Sprintf(`topic=="/containers/delete",namespace==%s`, namespace))
	list, err := client.ContainerService().List(ctx, fmt.Sprintf(`labels.%q==%s`, label, b.namespace))
	if err != nil {
		r.close()
		return nil, err
	}
	for _, c := range list {
		r.there[c.ID] = true
	}
	return r, nil
}

// wait returns when all containers that were there at the beginning are gone.
func (r *records) wait(ctx context.Context) error {
	for len(r.there) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d container records are left: %w", len(r.there), ctx.Err())
		case err := <-r.errs:
			return fmt.Errorf("events of containerd: %w", err)
		case envelope := <-r.events:
			event, err := typeurl.UnmarshalAny(envelope.Event)
			if err != nil {
				return err
			}
			if gone, ok := event.(*eventtypes.ContainerDelete); ok {
				delete(r.there, gone.ID)
			}
		}
	}
	return nil
}

func (r *records) close() {
	r.stop()
	_ = r.client.Close()
}
