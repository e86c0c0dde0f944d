// Package coalesce lets many callers share the cost of an operation that costs about the same for one as for many.
//
// While one run is under way the items of later callers gather; the next run takes them all. So a lone caller never
// waits for company, and under load each caller waits for at most the run that began before it came, the rest after it, and
// its own.
package coalesce

import (
	"context"
	"sync"
	"time"
)

// Batcher gathers items. Run is called with one or more of them, never twice at the same time.
type Batcher[T any] struct {
	Run func([]T) error
	// Rest is how long no other run begins after one that took so long. When it is nil, the next begins at once.
	Rest func(took time.Duration) time.Duration

	mu      sync.Mutex
	items   []T
	waiting []chan error
	running bool
}

// Do returns when a run with the item is over, with that run's error, or when ctx ends; then the run may still come.
func (b *Batcher[T]) Do(ctx context.Context, item T) error {
	done := make(chan error, 1)
	b.mu.Lock()
	b.items, b.waiting = append(b.items, item), append(b.waiting, done)
	lead := !b.running
	b.running = true
	b.mu.Unlock()
	if lead {
		go b.serve()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve runs until nobody waits.
func (b *Batcher[T]) serve() {
	for {
		b.mu.Lock()
		items, waiting := b.items, b.waiting
		b.items, b.waiting = nil, nil
		b.running = len(items) > 0
		b.mu.Unlock()
		if len(items) == 0 {
			return
		}
		begin := time.Now()
		err := b.Run(items)
		took := time.Since(begin)
		for _, done := range waiting {
			done <- err
		}
		if b.Rest != nil {
			<-time.After(b.Rest(took))
		}
	}
}
