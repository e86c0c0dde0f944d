package probe

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Facts are what the probes of a container found out.
type Facts struct {
	Started, Ready bool
	// Failed is the probe for which the container has to be ended; empty if there is none.
	Failed miniv1.ProbeKind
}

// Container is what is known of one container that runs. It is not safe for concurrent use.
type Container struct {
	facts   Facts
	started time.Time
	probes  map[miniv1.ProbeKind]*series
}

// NewContainer begins with what was known of the container, which nothing contradicts yet: one that was ready is, until it fails. It was
// started at a time, by the clock that shows now. Of a container that has run for longer than a period, as of all of a node when an
// agent comes anew, the first runs are spread over that period by permille, from 0 to 999.
func NewContainer(spec *miniv1.Container, was Facts, started, now time.Time, permille int) *Container {
	c := &Container{facts: Begin(spec, was), started: started, probes: map[miniv1.ProbeKind]*series{}}
	if started.After(now) { // by a clock that was set back since
		c.started = now
	}
	for kind, p := range spec.Probes() {
		s := &series{Settings: SettingsOf(p), eager: kind != miniv1.ProbeLiveness}
		s.verdict = kind == miniv1.ProbeLiveness || kind == miniv1.ProbeReadiness && was.Ready
		c.probes[kind] = s
	}
	for kind, s := range c.probes {
		if at := c.first(s, now); now.Sub(c.started) > s.Period {
			s.begin(at.Add(s.Period * time.Duration(permille) / 1000))
		} else {
			c.probes[kind].begin(at)
		}
	}
	return c
}

// Begin is what is known of a container before it is asked: what was, and what no probe has to show.
func Begin(spec *miniv1.Container, was Facts) Facts {
	was.Started = was.Started || spec.StartupProbe == nil
	was.Ready = was.Started && (was.Ready || spec.ReadinessProbe == nil)
	return was
}

// first is when a probe begins that may.
func (c *Container) first(s *series, now time.Time) time.Time {
	if at := c.started.Add(s.Delay); at.After(now) {
		return at
	}
	return now
}

// Facts are what is known now.
func (c *Container) Facts() Facts { return c.facts }

// Due is when a probe is to be run next; false if it is not, for now.
func (c *Container) Due(kind miniv1.ProbeKind) (time.Time, bool) {
	s := c.probes[kind]
	if s == nil {
		return time.Time{}, false
	}
	switch kind {
	case miniv1.ProbeStartup:
		return s.due, !c.facts.Started && c.facts.Failed == ""
	case miniv1.ProbeLiveness:
		return s.due, c.facts.Started && c.facts.Failed == ""
	default:
		return s.due, c.facts.Started
	}
}

// Timeout of a probe's runs.
func (c *Container) Timeout(kind miniv1.ProbeKind) time.Duration {
	if s := c.probes[kind]; s != nil {
		return s.Timeout
	}
	return defaultTimeout
}

// Take takes in the result of a run that began at a time. It tells whether the facts changed, and whether people should be told
// of the result: once in each row of failures, or of runs without any.
func (c *Container) Take(kind miniv1.ProbeKind, r Result, began, now time.Time) (changed, tell bool) {
	s := c.probes[kind]
	if s == nil {
		return false, false
	}
	before := c.facts
	turned, tell := s.take(r, began)
	switch {
	case kind == miniv1.ProbeStartup && s.verdict && !before.Started:
		c.facts.Started = true
		for other, o := range c.probes {
			if other != kind {
				o.begin(c.first(o, now))
			}
		}
	case kind == miniv1.ProbeStartup && s.last == Failure && s.inRow >= s.Failures,
		kind == miniv1.ProbeLiveness && turned && !s.verdict:
		c.facts.Failed = kind
	}
	c.sum()
	return c.facts != before, tell
}

// sum is whether the container can serve: it has started, and its readinessProbe, if it has one, says so.
func (c *Container) sum() {
	s := c.probes[miniv1.ProbeReadiness]
	c.facts.Ready = c.facts.Started && (s == nil || s.verdict)
}
