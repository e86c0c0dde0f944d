package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// backoffBase is the wait after the second failure in a row, doubled with each further one up to backoffMax. The first
	// restart is at once.
	backoffBase = 10 * time.Second
	backoffMax  = 300 * time.Second
	// backoffReset is how long a container must have run for its crashes to be forgotten.
	backoffReset = 10 * time.Minute
	// sharedBackoffMax bounds the wait after failures of what all containers share: sandbox, network, removal.
	sharedBackoffMax = 30 * time.Second
	// UnavailableRetry is the wait when the runtime does not answer, doubled with each further time up to unavailableMax: one that is behind with
	// what hundreds ask gets no further when they all ask twice a second.
	UnavailableRetry = 500 * time.Millisecond
	unavailableMax   = 8 * time.Second
	// errImagePullFor is how long a first failed pull is shown as such, before it is shown as waiting.
	errImagePullFor = 5 * time.Second
)

// crashDelay is how long to wait before the next start after so many crashes before the last one.
func crashDelay(crashes int) time.Duration { return Doubled(backoffBase, backoffMax, crashes) }

// UnansweredRetry is how long to wait after nobody answered so many times in a row.
func UnansweredRetry(times int) time.Duration {
	return Doubled(UnavailableRetry, unavailableMax, max(times, 1))
}

// Doubled is base after one, twice that after two and so on, up to a maximum; 0 after none.
func Doubled(base, most time.Duration, count int) time.Duration {
	if count <= 0 {
		return 0
	}
	d := base
	for range count - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return min(d, most)
}

// restart tells when a container that ended at a time may be started again, and how many crashes the new one is to remember.
func restart(last Container, ended time.Time) (at time.Time, crashes int) {
	crashes = last.Crashes
	if last.State == StateUnknown || last.ServerFailed { // which is no crash of its own
		return time.Time{}, crashes
	}
	if !last.StartedAt.IsZero() && last.FinishedAt.Sub(last.StartedAt) >= backoffReset {
		return ended, 1
	}
	return ended.Add(crashDelay(crashes)), crashes + 1
}

// retryAt is when to try again what failed.
func (f Failure) retryAt(container bool) time.Time {
	switch {
	case f.Reason == "":
		return f.At.Add(UnansweredRetry(f.Unanswered))
	case f.Reason == miniv1.ReasonRunContainerError:
		return f.At.Add(crashDelay(f.Count - 1)) // as of one that crashed: the first time at once
	case container:
		return f.At.Add(crashDelay(f.Count))
	default:
		return f.At.Add(Doubled(time.Second, sharedBackoffMax, f.Count))
	}
}

// retryAt is when to try again to get the image.
func (i Image) retryAt() time.Time {
	if i.Failures == 0 {
		return i.FailedAt.Add(UnansweredRetry(i.Unanswered))
	}
	return i.FailedAt.Add(crashDelay(i.Failures))
}
