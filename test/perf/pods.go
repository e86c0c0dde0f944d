package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// pod is the MiniPod whose start is measured: one container that sleeps.
func (b *bench) pod(name string) *miniv1.MiniPod {
	grace := int64(0)
	return &miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name, Finalizers: []string{miniv1.AgentFinalizer}},
		Spec: miniv1.MiniPodSpec{
			NodeName:                      b.node,
			TerminationGracePeriodSeconds: &grace,
			Containers: []miniv1.Container{{Name: "main", Image: b.image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"sleep", "100000"}}},
		},
	}
}

// tracker follows all MiniPods of the namespace by one watch, and notes when each was first seen in a state. An API server
// ends a watch whose client lags by a few events; the tracker then goes on from the last one it saw, at once.
type tracker struct {
	mu      sync.Mutex
	changed chan struct{}
	running map[string]time.Time
	gone    map[string]time.Time
	failed  map[string]string
	stop    context.CancelFunc
}

func (b *bench) track(ctx context.Context) (*tracker, error) {
	var list miniv1.MiniPodList
	if err := b.api.List(ctx, &list, client.InNamespace(b.namespace)); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	t := &tracker{changed: make(chan struct{}, 1), running: map[string]time.Time{}, gone: map[string]time.Time{},
		failed: map[string]string{}, stop: stop}
	go t.follow(ctx, b, list.ResourceVersion)
	return t, nil
}

// follow notes every change after a resource version, until ctx ends.
func (t *tracker) follow(ctx context.Context, b *bench, version string) {
	for ctx.Err() == nil {
		watch, err := b.api.Watch(ctx, &miniv1.MiniPodList{}, &client.ListOptions{Namespace: b.namespace,
			Raw: &metav1.ListOptions{ResourceVersion: version}})
		if err != nil {
			fmt.Fprintln(os.Stderr, "perf: watching:", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		for event := range watch.ResultChan() {
			pod, ok := event.Object.(*miniv1.MiniPod)
			if !ok {
				break
			}
			version = pod.ResourceVersion
			t.note(event.Type, pod, time.Now())
			select {
			case t.changed <- struct{}{}:
			default:
			}
		}
		watch.Stop()
	}
}

func (t *tracker) note(event apiwatch.EventType, pod *miniv1.MiniPod, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case event == apiwatch.Deleted:
		t.gone[pod.Name] = now
	case pod.Status.Phase == miniv1.PodRunning:
		if _, seen := t.running[pod.Name]; !seen {
			t.running[pod.Name] = now
		}
	case pod.Status.Phase == miniv1.PodFailed:
		t.failed[pod.Name] = pod.Status.Summary
	}
}

// until waits for a condition on what was noted, looked at after every change.
func (t *tracker) until(ctx context.Context, limit time.Duration, what string, done func() bool) error {
	timeout := time.After(limit)
	for {
		t.mu.Lock()
		ok, failed := done(), len(t.failed)
		t.mu.Unlock()
		switch {
		case failed > 0:
			return fmt.Errorf("%s: %d MiniPods failed: %v", what, failed, t.failed)
		case ok:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("%s: not within %s (%d running, %d gone)", what, limit, len(t.running), len(t.gone))
		case <-t.changed:
		}
	}
}

// start creates MiniPods, so many at a time, and returns when each was sent.
func (b *bench) start(ctx context.Context, names []string, parallel int) (map[string]time.Time, error) {
	sent, mu := map[string]time.Time{}, sync.Mutex{}
	slots, errs := make(chan struct{}, parallel), make(chan error, len(names))
	for _, name := range names {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			mu.Lock()
			sent[name] = time.Now()
			mu.Unlock()
			errs <- b.api.Create(ctx, b.pod(name))
		}()
	}
	for range names {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	return sent, nil
}

// clear deletes all MiniPods and waits until the last is gone.
func (b *bench) clear(ctx context.Context, t *tracker, names []string) error {
	if err := b.api.DeleteAllOf(ctx, &miniv1.MiniPod{}, client.InNamespace(b.namespace)); err != nil {
		return err
	}
	return t.until(ctx, 3*time.Minute, "deletion", func() bool {
		for _, name := range names {
			if _, ok := t.gone[name]; !ok {
				return false
			}
		}
		return true
	})
}

func podNames(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return out
}
