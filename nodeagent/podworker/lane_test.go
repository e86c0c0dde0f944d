package podworker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// hang makes an operation on the containers of some MiniPods wait until the test's end, as behind a server that does not answer.
func (b *bench) hang(op fake.Op, name string) {
	end := make(chan struct{})
	b.t.Cleanup(func() { close(end) })
	b.runtime.OnCall(func(ctx context.Context, called fake.Op, id string) error {
		spec, _ := b.runtime.Spec(id)
		if called != op || !strings.HasPrefix(spec.Labels["miniplane.dev/pod-name"], name) {
			return nil
		}
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// TestHungStartsHoldNobodyUp: as many starts as there are places hang; others start all the same, when the places came back.
func TestHungStartsHoldNobodyUp(t *testing.T) {
	b := newBench(t)
	b.hang(fake.OpStart, "hung")
	places := cap(b.pool.launches.places)
	for i := range places {
		b.create(fmt.Sprintf("hung-%02d", i))
	}
	b.until("all places are taken", func() bool {
		return len(b.runtime.Calls(fake.OpStart)) == places && len(b.pool.launches.places) == places
	})
	b.create("other")
	b.pass(lanePatience - time.Millisecond)
	if len(b.running()) != 0 {
		t.Error("a place was given away at once")
	}
	b.pass(time.Millisecond)
	b.shows("other", "Running")
	b.until("no place is held", func() bool { return len(b.pool.launches.places) == 0 })
}

// TestHungRemovalsHoldNobodyUp is the same of removals.
func TestHungRemovalsHoldNobodyUp(t *testing.T) {
	b := newBench(t)
	places := cap(b.pool.removals.places)
	for i := range places {
		b.create(fmt.Sprintf("hung-%02d", i))
	}
	b.create("other")
	b.until("all run", func() bool { return len(b.running()) == places+1 })
	b.hang(fake.OpRemove, "hung")
	for i := range places {
		b.delete(fmt.Sprintf("hung-%02d", i))
	}
	b.until("all places are taken", func() bool { return len(b.pool.removals.places) == places })
	b.delete("other")
	b.until("it was told to end", func() bool { return len(b.running()) == 0 })
	b.pass(lanePatience)
	b.until("the other is gone", func() bool { return b.get("other") == nil })
}
