package main

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
)

var (
	requestLine = regexp.MustCompile(`^apiserver_request_total\{(.*)\} ([0-9.e+]+)$`)
	writeVerb   = regexp.MustCompile(`verb="(POST|PUT|PATCH|APPLY|DELETE|DELETECOLLECTION)"`)
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
	clients, err := kubernetes.NewForConfig(b.config)
	if err != nil {
		return 0, 0, err
	}
	body, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, 0, err
	}
	scanner := bufio.NewScanner(strings.NewReader(string(body)))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		match := requestLine.FindStringSubmatch(scanner.Text())
		if match == nil || !writeVerb.MatchString(match[1]) {
			continue
		}
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case strings.Contains(match[1], `resource="minipods"`):
			pods += value
		case strings.Contains(match[1], `resource="events"`):
			events += value
		}
	}
	return pods, events, scanner.Err()
}
