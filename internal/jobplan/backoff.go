package jobplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// firstBackoff is the pause after a failure, doubled with each further one until a MiniPod succeeds, up to lastBackoff; as a
	// native Job's.
	firstBackoff, lastBackoff = 10 * time.Second, 6 * time.Minute
)

// Backoff is how many MiniPods failed since the last one that succeeded, and when the last did.
type Backoff struct {
	Failures int
	Last     time.Time
}

// with is what is known after these have ended as well.
func (b Backoff) with(now time.Time, succeeded, failed []*miniv1.MiniPod) Backoff {
	var success time.Time
	for _, pod := range succeeded {
		if at := believable(pod, now); at.After(success) {
			success = at
		}
	}
	if len(succeeded) > 0 {
		b = Backoff{}
	}
	for _, pod := range failed {
		at := believable(pod, now)
		if len(succeeded) > 0 && !at.After(success) {
			continue
		}
		b.Failures++
		if at.After(b.Last) {
			b.Last = at
		}
	}
	return b
}

// believable is when a MiniPod ended, as far as its node's clock can be believed: not before it was made, and not long from now. Then it
// counts from when it was made, so that a clock that is ahead by a day holds nothing up for a day, and one that is behind takes no pause away.
func believable(pod *miniv1.MiniPod, now time.Time) time.Time {
	at, made := endedAt(pod), pod.CreationTimestamp.Time
	if at.Before(made) || at.After(now.Add(lastBackoff)) {
		return made
	}
	return at
}

// left is how long to wait before the next MiniPod is created.
func (b Backoff) left(now time.Time) time.Duration {
	if b.Failures == 0 {
		return 0
	}
	pause := firstBackoff
	for i := 1; i < b.Failures && pause < lastBackoff; i++ {
		pause *= 2
	}
	return max(0, min(pause, lastBackoff)-now.Sub(b.Last))
}
