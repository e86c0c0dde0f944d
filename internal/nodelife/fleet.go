package nodelife

import (
	"sync"
	"time"
)

const (
	// lookEvery is when a node that may not be emptied now is looked at again, if nothing happens before.
	lookEvery = 10 * time.Second
	// measureEvery is the least time between two counts of all nodes: many may be looked at in one moment.
	measureEvery = 100 * time.Millisecond
)

// Fleet knows all nodes: what their witnesses say, in which zone they are, and which may be emptied when. It is made anew by every
// manager: then nobody is lost for a grace period, and no zone has saved up evictions. Safe for concurrent use.
//
// The brake is a token bucket for each zone with room for one token, which stands for one node. A bucket begins empty, and is
// emptied when the pace changes. When a pace becomes faster, everybody in the zone gets a grace period and the whole wait anew,
// from that moment: who was not heard because of us gets the time to be heard.
type Fleet struct {
	grace    time.Duration
	brake    Brake
	agents   *Tracker
	machines *Tracker

	mu       sync.Mutex
	members  map[string]*member
	zones    map[string]*zone
	away     count     // of all, who is silent or leaves
	measured time.Time // when all were counted last; zero when somebody came or went since
}

type member struct {
	zone string
	word Word
	// boot is what the machine's kubelet says of its start, and booted when it first said so to us.
	boot   string
	booted time.Time
	leaves bool // its DaemonSet does not want it
	// empties: a token was spent on it since it was heard last.
	empties bool
}

type zone struct {
	count
	pace  Pace
	freed time.Time // when the pace became faster last
	next  time.Time // when the next node may be emptied
}

// NewFleet makes a fleet of no nodes. A witness that is silent for the grace period is lost.
func NewFleet(grace time.Duration, brake Brake) *Fleet {
	return &Fleet{grace: grace, brake: brake, agents: NewTracker(grace), machines: NewTracker(grace),
		members: map[string]*member{}, zones: map[string]*zone{}}
}

// HearAgent notes what an agent's Lease tells.
func (f *Fleet) HearAgent(node string, beat Beat, now time.Time) News {
	return f.agents.Observe(node, beat, now)
}

// HearMachine notes what a kubelet's Lease tells.
func (f *Fleet) HearMachine(node string, beat Beat, now time.Time) News {
	return f.machines.Observe(node, beat, now)
}

// Join puts a node into a zone, or moves it there; word is what its core Node says.
func (f *Fleet) Join(node, zone string, word Word) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, known := f.members[node]
	if !known {
		m = &member{}
		f.members[node] = m
	}
	if !known || m.zone != zone {
		f.measured = time.Time{}
	}
	m.zone, m.word = zone, word
}

// Boot notes which start of its machine a node's kubelet speaks of, and tells since when.
func (f *Fleet) Boot(node, bootID string, now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.member(node)
	if m.boot != bootID || m.booted.IsZero() {
		m.boot, m.booted = bootID, now
	}
	return m.booted
}

// Leave drops a node that is gone.
func (f *Fleet) Leave(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, node)
	f.measured = time.Time{}
	f.agents.Forget(node)
	f.machines.Forget(node)
}

// Quit takes a node out of all counts of which nothing is left but MiniPods, and remembers when it was heard.
func (f *Fleet) Quit(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.members[node]; known {
		delete(f.members, node)
		f.measured = time.Time{}
	}
}

// Pardon gives everybody a new grace period: we were blind until now.
func (f *Fleet) Pardon(now time.Time) {
	f.agents.Pardon(now)
	f.machines.Pardon(now)
}

// AgentAlive tells whether a node's agent is known to be alive.
func (f *Fleet) AgentAlive(node string, now time.Time) bool {
	return f.agents.Health(node, now).State == Alive
}

// Silent lists the nodes whose agent is not known to be alive.
func (f *Fleet) Silent(now time.Time) []string { return f.agents.NotAlive(now) }

// Look tells about the life of a node, and how fast those of its zone may be emptied.
func (f *Fleet) Look(node string, now time.Time) (Life, Pace) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.measure(now)
	m := f.member(node)
	life := judge(f.agents.Health(node, now), f.machines.Health(node, now), m.word)
	if life.State == Alive && !m.leaves {
		m.empties = false
	}
	z := f.zone(m.zone, now)
	if freed := z.freed.Add(f.grace); !z.freed.IsZero() && !life.Since.IsZero() && freed.After(life.Since) {
		life.Since = freed
	}
	return life, z.pace
}

// Admit asks to empty a node now. Where it may not be, again is when to ask again.
func (f *Fleet) Admit(node string, now time.Time) (ok bool, again time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.measure(now)
	m := f.member(node)
	z := f.zone(m.zone, now)
	switch {
	case z.pace == Stopped:
		return false, now.Add(lookEvery)
	case m.empties:
		return true, time.Time{}
	case now.Before(z.next):
		return false, z.next
	}
	m.empties = true
	z.next = now.Add(f.brake.interval(z.pace))
	return true, time.Time{}
}

// ZoneState is what is said about a zone to people who measure.
type ZoneState struct {
	Nodes, Silent int
	Pace          Pace
}

// Zones tells about all zones.
func (f *Fleet) Zones(now time.Time) map[string]ZoneState {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.measure(now)
	out := map[string]ZoneState{}
	for name, z := range f.zones {
		out[name] = ZoneState{Nodes: z.nodes, Silent: z.silent, Pace: z.pace}
	}
	return out
}

// measure counts who is silent, and sets the pace of every zone.
func (f *Fleet) measure(now time.Time) {
	if since := now.Sub(f.measured); since >= 0 && since < measureEvery {
		return
	}
	f.measured = now
	var fleet count
	f.away = count{}
	for _, z := range f.zones {
		z.count = count{}
	}
	for name, m := range f.members {
		z := f.zone(m.zone, now)
		z.nodes++
		fleet.nodes++
		if f.agents.Quiet(name, now) {
			z.silent++
			fleet.silent++
			f.away.silent++
		} else if m.leaves {
			f.away.silent++
		}
		f.away.nodes++
	}
	well := 0
	for name, z := range f.zones {
		if z.nodes == 0 {
			delete(f.zones, name)
		} else if !z.all() && !z.share(f.brake.Unhealthy) {
			well++
		}
	}
	for _, z := range f.zones {
		z.set(f.brake.pace(z.count, fleet, well > 0), f.brake, now)
	}
}

func (z *zone) set(pace Pace, brake Brake, now time.Time) {
	if pace == z.pace {
		return
	}
	if pace < z.pace {
		z.freed = now
	}
	z.pace, z.next = pace, now.Add(brake.interval(pace))
}

// member is a node that joined, or what one is taken for that has not: its MiniPods are there before it, or after it.
func (f *Fleet) member(node string) *member {
	if m, known := f.members[node]; known {
		return m
	}
	return &member{}
}

func (f *Fleet) zone(name string, now time.Time) *zone {
	z, known := f.zones[name]
	if !known {
		z = &zone{next: now.Add(f.brake.Every)}
		f.zones[name] = z
	}
	return z
}
