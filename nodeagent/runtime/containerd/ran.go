package containerd

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tick is the unit of what the kernel tells of a process's beginning, on every architecture.
	tick = 10 * time.Millisecond
	// clockTolerance is how far the two clocks may be apart before one is taken to have been set: a process begins a little before
	// it is let go.
	clockTolerance = 10 * time.Second
)

// startOf is when a container that ended now began, such that the time between is how long it ran: when the machine's clock was set
// meanwhile, its start is told by the clock as it is at its end. How long the process was there the kernel knows by a clock that
// nobody sets.
func startOf(m marker, finished, now time.Time, uptime time.Duration) time.Time {
	if m.process.began == 0 || uptime == 0 {
		return m.at
	}
	ran := uptime - time.Duration(m.process.began)*tick - max(0, now.Sub(finished))
	if ran < 0 {
		return m.at
	}
	if started := finished.Add(-ran); started.Sub(m.at).Abs() > clockTolerance {
		return started
	}
	return m.at
}

// uptime is how long the machine is up, sleep included, by the clock of which processes' beginnings are told; 0 if it is not known.
func uptime() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
