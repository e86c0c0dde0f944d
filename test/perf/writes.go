package main

import (
	"context"
	"fmt"
	"time"

	"miniplane.dev/miniplane/test/requests"
)

// writesPerPod counts, at the API server, the writes that whole lives of MiniPods cost (P12).
func writesPerPod(ctx context.Context, b *bench) ([]figure, error) {
	const n = 50
	all := figure{ID: "P12", Metric: "API writes per MiniPod life (create … gone)", Unit: "writes", Note: "counted by the API server"}
	events := figure{ID: "P12", Metric: "Events per MiniPod life", Unit: "Events"}
	t, err := b.track(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	for round := range b.rounds {
		beforePods, beforeEvents, err := b.countWrites(ctx)
		if err != nil {
			return nil, err
		}
		names := podNames(fmt.Sprintf("life-%d", round), n)
		if _, err := b.start(ctx, names, 8); err != nil {
			return nil, err
		}
		var last time.Time
		if err := t.until(ctx, 3*time.Minute, "start", func() bool { return allRunning(t, names, &last) }); err != nil {
			return nil, err
		}
		if err := b.clear(ctx, t, names); err != nil {
			return nil, err
		}
		afterPods, afterEvents, err := b.countWrites(ctx)
		if err != nil {
			return nil, err
		}
		// One DELETECOLLECTION stands for n deletions, as if each had been a request.
		all.Values = append(all.Values, (afterPods-beforePods-1+n)/n)
		events.Values = append(events.Values, (afterEvents-beforeEvents)/n)
	}
	return []figure{all, events}, nil
}

// countWrites reads how many writes of MiniPods and of Events the API server has answered.
func (b *bench) countWrites(ctx context.Context) (pods, events float64, err error) {
	if pods, err = requests.Writes(ctx, b.config, "minipods"); err != nil {
		return 0, 0, err
	}
	events, err = requests.Writes(ctx, b.config, "events")
	return pods, events, err
}
