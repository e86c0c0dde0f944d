package main

import (
	"context"
	"fmt"
	"time"
)

// startLatency starts MiniPods one at a time (P1).
func startLatency(ctx context.Context, b *bench) ([]figure, error) {
	f := figure{ID: "P1", Metric: "create → Running, one at a time, image present", Unit: "ms"}
	t, err := b.track(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	// The first start of all pays for what is made once, such as the first read of the image; it is not counted.
	for i := range 1 + 10*b.rounds {
		name := fmt.Sprintf("one-%d", i)
		sent, err := b.start(ctx, []string{name}, 1)
		if err != nil {
			return nil, err
		}
		if err := t.until(ctx, time.Minute, name, func() bool { return !t.running[name].IsZero() }); err != nil {
			return nil, err
		}
		if i > 0 {
			f.Values = append(f.Values, float64(t.running[name].Sub(sent[name]).Microseconds())/1000)
		}
		if err := b.clear(ctx, t, []string{name}); err != nil {
			return nil, err
		}
	}
	return []figure{f}, nil
}

// burst starts 60 MiniPods at once on one node (P2), and deletes them at once (P8, the last record of them gone).
func burst(ctx context.Context, b *bench) ([]figure, error) {
	const n = 60
	rate := figure{ID: "P2", Metric: "burst of 60 on one node", Unit: "pods/s"}
	single := figure{ID: "P2", Metric: "burst of 60: create → Running of each", Unit: "ms"}
	deletion := figure{ID: "P8", Metric: "60 deleted at once, grace 0: last finalizer gone", Unit: "s"}
	t, err := b.track(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	for round := range b.rounds {
		names := podNames(fmt.Sprintf("burst-%d", round), n)
		begin := time.Now()
		sent, err := b.start(ctx, names, n)
		if err != nil {
			return nil, err
		}
		last := begin
		if err := t.until(ctx, 3*time.Minute, "burst", func() bool { return allRunning(t, names, &last) }); err != nil {
			return nil, err
		}
		rate.Values = append(rate.Values, n/last.Sub(begin).Seconds())
		for _, name := range names {
			single.Values = append(single.Values, float64(t.running[name].Sub(sent[name]).Microseconds())/1000)
		}
		begin = time.Now()
		if err := b.clear(ctx, t, names); err != nil {
			return nil, err
		}
		deletion.Values = append(deletion.Values, time.Since(begin).Seconds())
	}
	return []figure{rate, single, deletion}, nil
}

// allRunning tells whether every MiniPod was seen Running, and when the last was.
func allRunning(t *tracker, names []string, last *time.Time) bool {
	for _, name := range names {
		at, ok := t.running[name]
		if !ok {
			return false
		}
		if at.After(*last) {
			*last = at
		}
	}
	return true
}
