package probe

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The defaults of a native Pod's probes.
const (
	defaultPeriod    = 10 * time.Second
	defaultTimeout   = time.Second
	defaultSuccesses = 1
	defaultFailures  = 3
)

// Settings are a probe's numbers, with the defaults in place of what is not given.
type Settings struct {
	// Delay after the container's start, Period between two runs, Timeout of one.
	Delay, Period, Timeout time.Duration
	// Successes and Failures in a row that are believed.
	Successes, Failures int
}

// SettingsOf reads a probe.
func SettingsOf(p *miniv1.Probe) Settings {
	s := Settings{
		Delay:     seconds(p.InitialDelaySeconds, 0),
		Period:    seconds(p.PeriodSeconds, defaultPeriod),
		Timeout:   seconds(p.TimeoutSeconds, defaultTimeout),
		Successes: count(p.SuccessThreshold, defaultSuccesses),
		Failures:  count(p.FailureThreshold, defaultFailures),
	}
	if p.PeriodMilliseconds > 0 {
		s.Period = time.Duration(p.PeriodMilliseconds) * time.Millisecond
	}
	return s
}

func seconds(given int32, otherwise time.Duration) time.Duration {
	if given <= 0 {
		return otherwise
	}
	return time.Duration(given) * time.Second
}

func count(given int32, otherwise int) int {
	if given <= 0 {
		return otherwise
	}
	return int(given)
}
