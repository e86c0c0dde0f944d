package main

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/test/requests"
)

// background are resources that are written all the time, whether Pods live or not: heartbeats, and questions that the API
// server is asked as if they were objects.
var background = map[string]bool{"leases": true, "nodes": true, "mininodes": true, "tokenreviews": true, "subjectaccessreviews": true}

// lives starts and ends Pods one at a time (P1), and counts what that costs the API server in writes (P12). The next begins
// when the last is gone from the API, which the agent of either side allows when its containers are.
func lives(ctx context.Context, b *bench, s side, round int) (samples, error) {
	t, err := b.track(ctx, s)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	before, err := requests.AllWrites(ctx, b.config)
	if err != nil {
		return nil, err
	}
	found := samples{}
	names := podNames(b.singles, "one-%s-%d", b.limits, round)
	for i, name := range names {
		sent, err := b.start(ctx, s, []string{name}, 1, 1)
		if err != nil {
			return nil, err
		}
		if err := t.until(ctx, time.Minute, name, func() bool { return t.counts.running == i+1 }); err != nil {
			return nil, err
		}
		found["start.latency"] = append(found["start.latency"], milliseconds(t.at(name).running.Sub(sent[name])))
		if err := b.api.Delete(ctx, s.pod(podOptions{namespace: b.namespace, name: name})); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		if err := t.until(ctx, time.Minute, "end of "+name, func() bool { return t.counts.gone == i+1 }); err != nil {
			return nil, err
		}
	}
	if err := settle(ctx); err != nil { // Events may come after the end
		return nil, err
	}
	after, err := requests.AllWrites(ctx, b.config)
	if err != nil {
		return nil, err
	}
	countWrites(found, before, after, float64(len(names)))
	return found, nil
}

// countWrites divides the writes between two counts among n lives.
func countWrites(found samples, before, after map[string]float64, n float64) {
	writes := 0.0
	for resource := range after {
		more := (after[resource] - before[resource]) / n
		switch {
		case background[resource] || more == 0:
			continue
		case resource == "events":
			found["life.events"] = []float64{more}
			continue
		}
		writes += more
		found["life.writes/"+resource] = []float64{more}
	}
	found["life.writes"] = []float64{writes}
	if found["life.events"] == nil {
		found["life.events"] = []float64{0}
	}
}

// settle waits until what comes after a measurement has come.
func settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Second):
		return nil
	}
}
