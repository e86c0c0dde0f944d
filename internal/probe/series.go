package probe

import "time"

// Result of one run.
type Result int

// Results.
const (
	// Unknown says nothing of the container.
	Unknown Result = iota
	Success
	Failure
)

func (r Result) String() string {
	return [...]string{"unknown", "success", "failure"}[r]
}

const (
	// firstImpatience is how long after a run without success the next one comes that does not count; most programs are ready soon
	// after they started.
	firstImpatience = 50 * time.Millisecond
	// toldAfter is how many failures in a row people are told of, if the threshold is not lower: fewer are no news while programs start.
	toldAfter = 3
)

// series is one probe's results so far.
type series struct {
	Settings
	// eager: it is asked in between while the verdict is no.
	eager   bool
	verdict bool
	last    Result
	inRow   int
	unknown int // in a row
	// counts is when the next run is due that counts, due when the next one is.
	counts, due time.Time
	impatience  time.Duration
}

// begin sets the first run.
func (s *series) begin(at time.Time) { s.counts, s.due, s.impatience = at, at, firstImpatience }

// take takes in the result of a run that began at a time, and tells whether the verdict changed, and whether people should be told that
// it fails, or has no result.
func (s *series) take(r Result, began time.Time) (changed, tell bool) {
	counts := !began.Before(s.counts)
	if counts {
		s.counts = began.Add(s.Period)
	}
	if r == Unknown {
		s.unknown++
		tell = s.unknown == toldAfter
	} else {
		s.unknown = 0
	}
	if r == Success || r == Failure && counts {
		changed, tell = s.judge(r)
	}
	s.due = s.counts
	if s.eager && !s.verdict && s.Successes == 1 {
		if between := began.Add(s.impatience); between.Before(s.due) {
			s.due = between
		}
		s.impatience = min(2*s.impatience, s.Period)
	}
	return changed, tell
}

func (s *series) judge(r Result) (changed, tell bool) {
	if r != s.last {
		s.last, s.inRow = r, 0
	}
	s.inRow++
	before := s.verdict
	switch {
	case r == Success && s.inRow >= s.Successes:
		s.verdict = true
	case r == Failure && s.inRow >= s.Failures:
		s.verdict = false
	}
	if before && !s.verdict {
		s.impatience = firstImpatience
	}
	return s.verdict != before, r == Failure && s.inRow == min(s.Failures, toldAfter)
}
