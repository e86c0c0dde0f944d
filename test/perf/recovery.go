package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// recovery kills the agent while many MiniPods run, and waits for the next start to succeed (P17): by then the new agent
// has found and adopted everything. Containers and their start times must be the same after as before.
func recovery(ctx context.Context, b *bench) ([]figure, error) {
	if b.killAgent == "" {
		return nil, nil
	}
	converged := figure{ID: "P17", Metric: fmt.Sprintf("agent SIGKILL with %d MiniPods → next MiniPod Running", b.pods), Unit: "s"}
	restarts := figure{ID: "P17", Metric: "containers restarted by that", Unit: "containers"}
	t, err := b.track(ctx)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	// Each round adds one; the last one makes it so many, which is what a node takes.
	names := podNames("many", b.pods-b.rounds)
	if _, err := b.start(ctx, names, 16); err != nil {
		return nil, err
	}
	var last time.Time
	if err := t.until(ctx, 10*time.Minute, "start", func() bool { return allRunning(t, names, &last) }); err != nil {
		return nil, err
	}
	for round := range b.rounds {
		before, err := b.containers(ctx)
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if out, err := exec.CommandContext(ctx, "sh", "-c", b.killAgent).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", b.killAgent, err, out)
		}
		probe := fmt.Sprintf("probe-%d", round)
		if _, err := b.start(ctx, []string{probe}, 1); err != nil {
			return nil, err
		}
		if err := t.until(ctx, time.Minute, probe, func() bool { return !t.running[probe].IsZero() }); err != nil {
			return nil, err
		}
		converged.Values = append(converged.Values, t.running[probe].Sub(begin).Seconds())
		after, err := b.containers(ctx)
		if err != nil {
			return nil, err
		}
		changed := 0
		for name, id := range before {
			if after[name] != id {
				changed++
			}
		}
		restarts.Values = append(restarts.Values, float64(changed))
	}
	return []figure{converged, restarts}, b.clear(ctx, t, names)
}

// containers tells each MiniPod's container and when it started.
func (b *bench) containers(ctx context.Context) (map[string]string, error) {
	var list miniv1.MiniPodList
	if err := b.api.List(ctx, &list, client.InNamespace(b.namespace)); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, pod := range list.Items {
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Running != nil {
				out[pod.Name] = fmt.Sprintf("%s since %s, %d restarts", c.ContainerID, c.State.Running.StartedAt, c.RestartCount)
			}
		}
	}
	return out, nil
}
