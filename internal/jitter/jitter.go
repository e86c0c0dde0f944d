// Package jitter spreads in time what many do for one reason. When an API server comes back after an outage, a thousand agents
// that all counted the same seconds would ask it in the same moment.
package jitter

import (
	"math/rand/v2"
	"time"
)

// Up is a wait of at least d and less than half as much again: for what must not be earlier.
func Up(d time.Duration) time.Duration { return d + upTo(d/2) }

// Down is a wait of at most d and more than half of it: for what must not be later.
func Down(d time.Duration) time.Duration { return d - upTo(d/2) }

// Around is a wait that is d in the mean, an eighth more or less: for what goes on for ever.
func Around(d time.Duration) time.Duration { return d - d/8 + upTo(d/4) }

func upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
