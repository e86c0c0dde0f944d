package grants

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

const (
	// rate and burst are what the reads of one namespace's MiniPods may ask of the API server in a second, and at once.
	rate  = 20
	burst = 200
	// fresh is after how long without a read a namespace may forget what it used: it has its whole burst again.
	fresh = burst / rate * time.Second
	// manyTurns is when those are looked for.
	manyTurns = 64
)

// turns hold the reads of each namespace to a rate of its own, so that no namespace that asks for much, again and again, makes the others of
// the node wait: who waits for too long has his image tried without its Secret.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	flowcontrol.RateLimiter
	last time.Time
}

// wait returns when the namespace may read; an error where that would be too late for the context.
func (t *turns) wait(ctx context.Context, namespace string) error {
	return t.get(namespace, time.Now()).Wait(ctx)
}

func (t *turns) get(namespace string, now time.Time) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.of) >= manyTurns {
		for name, other := range t.of {
			if now.Sub(other.last) > 2*fresh {
				delete(t.of, name)
			}
		}
	}
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	own, known := t.of[namespace]
	if !known {
		own = &turn{RateLimiter: flowcontrol.NewTokenBucketRateLimiter(rate, burst)}
		t.of[namespace] = own
	}
	own.last = now
	return own
}
