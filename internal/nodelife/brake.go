package nodelife

import "time"

// Pace is how fast the nodes of a zone may be emptied.
type Pace int

const (
	// Free is the normal pace.
	Free Pace = iota
	// Slow is for when a large part of a large zone is silent.
	Slow
	// Stopped is for when so much is silent that it is more likely that we do not hear it, or that there is no place to go.
	Stopped
)

// String is for metrics and logs.
func (p Pace) String() string { return [...]string{"free", "slow", "stopped"}[p] }

// Brake says how fast nodes may be emptied. The times are those between two nodes of one zone; zero is never.
type Brake struct {
	// Every is the time at the normal pace, EverySlow that while a large part of a large zone is silent.
	Every, EverySlow time.Duration
	// Unhealthy is the share of silent nodes, in thousandths, from which on a zone is slowed or stopped.
	Unhealthy int
	// Large is the number of nodes above which a zone is slowed, and not stopped.
	Large int
}

const (
	// few nodes can be lost in any zone without a brake: in a small one they are soon a large share.
	few = 2
	// blind is the share of silent nodes of the whole fleet, in thousandths, from which on nobody is evicted.
	blind = 900
)

// count is how many nodes a zone, or the fleet, has, and how many of them are silent.
type count struct{ nodes, silent int }

func (c count) all() bool            { return c.nodes > 0 && c.silent == c.nodes }
func (c count) share(share int) bool { return c.silent > few && c.silent*1000 >= share*c.nodes }

// pace decides for one zone, by its own count, that of the fleet, and whether other zones are as they should be.
func (b Brake) pace(zone, fleet count, othersWell bool) Pace {
	switch {
	case fleet.all() || fleet.share(blind):
		return Stopped
	case zone.all() && othersWell: // it is away, and we see well
		return b.limited(Free)
	case !zone.share(b.Unhealthy):
		return b.limited(Free)
	case zone.nodes > b.Large:
		return b.limited(Slow)
	default:
		return Stopped
	}
}

// limited is the pace, if there is such.
func (b Brake) limited(p Pace) Pace {
	if b.interval(p) <= 0 {
		return Stopped
	}
	return p
}

func (b Brake) interval(p Pace) time.Duration {
	return [...]time.Duration{Free: b.Every, Slow: b.EverySlow, Stopped: 0}[p]
}
