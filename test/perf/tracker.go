package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// seen is when a Pod was first seen in each state, and how it was seen last.
type seen struct {
	there, bound, running, ready, restarted, gone time.Time
	last                                          look
}

// tracker follows all Pods of one side in one namespace by one watch. An API server ends a watch whose client lags by a few
// events; the tracker then goes on from the last one it saw, at once.
type tracker struct {
	changed chan struct{}
	stop    context.CancelFunc

	mu     sync.Mutex
	pods   map[string]*seen
	counts struct{ there, bound, running, ready, gone int }
	failed map[string]string
	broken error
}

func (b *bench) track(ctx context.Context, s side) (*tracker, error) {
	list := s.list()
	if err := b.api.List(ctx, list, client.InNamespace(b.namespace)); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	t := &tracker{changed: make(chan struct{}, 1), stop: stop, pods: map[string]*seen{}, failed: map[string]string{}}
	go t.follow(ctx, b, s, list.GetResourceVersion())
	return t, nil
}

// follow notes every change after a resource version, until ctx ends.
func (t *tracker) follow(ctx context.Context, b *bench, s side, version string) {
	const again = 100 * time.Millisecond
	for ctx.Err() == nil {
		watch, err := b.api.Watch(ctx, s.list(), &client.ListOptions{Namespace: b.namespace,
			Raw: &metav1.ListOptions{ResourceVersion: version}})
		if err != nil {
			fmt.Fprintln(os.Stderr, "perf: watching:", err)
			time.Sleep(again)
			continue
		}
		for event := range watch.ResultChan() {
			pod, ok := event.Object.(client.Object)
			if !ok {
				t.complain(event)
				break
			}
			version = pod.GetResourceVersion()
			t.note(event.Type, pod.GetName(), s.look(pod), time.Now())
			t.kick()
		}
		watch.Stop()
	}
}

// complain notes a watch that cannot go on: events were missed, and with them moments.
func (t *tracker) complain(event apiwatch.Event) {
	err := apierrors.FromObject(event.Object)
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return
	}
	t.mu.Lock()
	t.broken = fmt.Errorf("the watch missed events: %w", err)
	t.mu.Unlock()
	t.kick()
}

func (t *tracker) kick() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *tracker) note(event apiwatch.EventType, name string, l look, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pod := t.pods[name]
	if pod == nil {
		pod = &seen{}
		t.pods[name] = pod
	}
	first := func(at *time.Time, is bool, count *int) {
		if is && at.IsZero() {
			*at = now
			*count++
		}
	}
	restarts := 0
	first(&pod.there, true, &t.counts.there)
	first(&pod.bound, l.bound, &t.counts.bound)
	first(&pod.running, l.running, &t.counts.running)
	first(&pod.ready, l.ready, &t.counts.ready)
	first(&pod.restarted, l.restarts > 0 && l.container != "" && l.running, &restarts)
	first(&pod.gone, event == apiwatch.Deleted, &t.counts.gone)
	if l.failed != "" && event != apiwatch.Deleted {
		t.failed[name] = l.failed
	}
	pod.last = l
}

// at is what is known of one Pod.
func (t *tracker) at(name string) seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	if pod := t.pods[name]; pod != nil {
		return *pod
	}
	return seen{}
}

// until waits for a condition on what was noted, looked at after every change. The condition is asked with the lock held.
func (t *tracker) until(ctx context.Context, limit time.Duration, what string, done func() bool) error {
	timeout := time.After(limit)
	for {
		ok, err := t.ask(what, done)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			t.mu.Lock()
			defer t.mu.Unlock()
			return fmt.Errorf("%s: not within %s (%+v)", what, limit, t.counts)
		case <-t.changed:
		}
	}
}

func (t *tracker) ask(what string, done func() bool) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.broken != nil:
		return false, fmt.Errorf("%s: %w", what, t.broken)
	case len(t.failed) > 0:
		return false, fmt.Errorf("%s: %d failed: %v", what, len(t.failed), t.failed)
	}
	return done(), nil
}

// latest is the last of the moments that pick finds, over the named Pods.
func (t *tracker) latest(names []string, pick func(seen) time.Time) time.Time {
	var last time.Time
	for _, name := range names {
		if at := pick(t.at(name)); at.After(last) {
			last = at
		}
	}
	return last
}
