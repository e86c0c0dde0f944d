package nodeagent

import (
	"context"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/tools/events"
)

// signed sends Events in the name of the node. The API server takes no others from its agent (config/policy/agents.yaml), so
// that everybody knows whose word an Event is.
type signed struct {
	events.EventSink
	node string
}

// Create implements events.EventSink.
func (s *signed) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	event.ReportingInstance = s.node
	return s.EventSink.Create(ctx, event)
}
