// Package nodelife decides what the silence, the end, and the return of a node means for its MiniNode and its MiniPods.
//
// The idea: two witnesses are asked about a node. Its agent renews a Lease, and so does the machine itself, by its kubelet. While
// only the agent is silent the containers run, so nothing is taken from them: nothing new is scheduled there, and that is all, for
// a long time. When both are silent the node is lost: first its MiniNode and MiniPods say so, after a short wait its MiniPods
// are deleted so that they are replaced elsewhere, and only when the core Node is gone too, or somebody declares it out of
// service, are they let go of without the agent's word. A MiniPod that runs on a lost node and its replacement may both run for a
// while; that they are never both counted, and that capacity and addresses stay taken, is what the finalizer is for.
//
// The algorithm has three parts. A Tracker turns the renewals of one witness into a state, by the clock of whoever watches: it
// counts the time since it last saw a Lease change, not the age of what the Lease says, so clocks that differ do no harm and
// nothing is lost within a grace period after the manager's start. The Fleet puts both witnesses of all nodes together, and holds
// the brake: how fast nodes may be emptied while so many are silent. Decide turns that, and what is in the API, into a plan.
//
// What makes it hard is to tell dead nodes from a blind watcher. The more nodes fall silent at once, the less likely is it that
// they are dead, and the fewer are left to take their MiniPods: so evictions are slowed and stopped, and when things work again
// everybody gets a full grace period from that moment.
package nodelife

import (
	"sync"
	"time"
)

// State is what is known about the life of a witness, or of a node.
type State int

const (
	// Unsure means that not one renewal was seen yet, and the grace period since the first look is not over.
	Unsure State = iota
	// Alive means that a renewal was seen within the grace period.
	Alive
	// Lost means that no renewal was seen for the grace period; of a node, that neither witness was heard.
	Lost
	// Absent is a node whose agent is lost and whose machine lives.
	Absent
	// Restarted is an absent one whose machine was started again since its agent spoke last: what ran there is gone.
	Restarted
)

// Health is the state of one witness at one time.
type Health struct {
	State State
	// LastSeen is when the last renewal was seen, or the first look was taken, by the watcher's clock.
	LastSeen time.Time
	// LostAt is when the witness will be, or was, given up if nothing is heard: LastSeen plus the grace period.
	LostAt time.Time
	// HasLease: there is, or was, a Lease.
	HasLease bool
}

// Beat is what a Lease tells.
type Beat struct {
	// Renewed is when it was renewed last, by the clock of who renews it.
	Renewed time.Time
	// Every is the time between two renewals; zero when it is short against the grace period.
	Every time.Duration
}

// News is what an observation changed.
type News struct {
	// Returned: the witness is alive now and was not before.
	Returned bool
	// Pardoned: before it nobody was, and now all others have a new grace period.
	Pardoned bool
}

// Tracker remembers when one witness of each node was heard last. Safe for concurrent use.
type Tracker struct {
	grace time.Duration

	mu    sync.Mutex
	heard map[string]*heard
}

type heard struct {
	renewed time.Time     // as the Lease says, by its writer's clock
	at      time.Time     // by the watcher's clock
	every   time.Duration // the time between two renewals
	changed bool          // a renewal was seen, not only a Lease
}

// NewTracker makes a tracker that gives a witness up when it is not heard for the grace period.
func NewTracker(grace time.Duration) *Tracker {
	return &Tracker{grace: grace, heard: map[string]*heard{}}
}

// Observe notes what a node's Lease tells, seen now.
func (t *Tracker) Observe(node string, beat Beat, now time.Time) News {
	t.mu.Lock()
	defer t.mu.Unlock()
	witness, known := t.heard[node]
	switch {
	case !known:
		t.heard[node] = &heard{renewed: beat.Renewed, at: now, every: beat.Every}
		return News{}
	case witness.renewed.Equal(beat.Renewed):
		return News{}
	case witness.renewed.IsZero(): // a Lease, but perhaps an old one
		witness.renewed, witness.at, witness.every = beat.Renewed, now, beat.Every
		return News{}
	}
	news := News{Returned: !t.alive(witness, now)}
	if news.Returned && !t.anyAlive(now) {
		news.Pardoned = true
		t.pardon(now)
	}
	*witness = heard{renewed: beat.Renewed, at: now, every: beat.Every, changed: true}
	return news
}

// Health tells the state of a node's witness. The first question about a node starts its grace period.
func (t *Tracker) Health(node string, now time.Time) Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	witness, known := t.heard[node]
	if !known {
		witness = &heard{at: now}
		t.heard[node] = witness
	}
	health := Health{LastSeen: witness.at, LostAt: witness.at.Add(t.graceOf(witness)), HasLease: !witness.renewed.IsZero()}
	switch {
	case t.alive(witness, now):
		health.State = Alive
	case !now.Before(health.LostAt):
		health.State = Lost
	}
	return health
}

// NotAlive lists the nodes whose witness is not known to be alive.
func (t *Tracker) NotAlive(now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for node, witness := range t.heard {
		if !t.alive(witness, now) {
			out = append(out, node)
		}
	}
	return out
}

// Quiet tells whether a node's witness has been silent for half a grace period: not long enough to be lost, but long enough to be
// counted when the first of many are.
func (t *Tracker) Quiet(node string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	witness, known := t.heard[node]
	return known && now.Sub(witness.at) >= t.graceOf(witness)/2
}

// Pardon starts the grace period of every witness again: the watcher was blind until now.
func (t *Tracker) Pardon(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pardon(now)
}

// Forget drops a node that is gone.
func (t *Tracker) Forget(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.heard, node)
}

// pardon keeps those that were alive alive, and makes the others unsure.
func (t *Tracker) pardon(now time.Time) {
	for _, witness := range t.heard {
		witness.changed = t.alive(witness, now)
		witness.at = now
	}
}

// graceOf is the grace period, or what it takes to miss one renewal where they are rare.
func (t *Tracker) graceOf(witness *heard) time.Duration {
	return max(t.grace, witness.every*8/5)
}

func (t *Tracker) alive(witness *heard, now time.Time) bool {
	return witness.changed && now.Sub(witness.at) < t.graceOf(witness)
}

func (t *Tracker) anyAlive(now time.Time) bool {
	for _, witness := range t.heard {
		if t.alive(witness, now) {
			return true
		}
	}
	return false
}
