// Package nodelife decides what the end, and the return, of a node's agent means for its MiniNode and its MiniPods.
//
// The idea: an agent renews a Lease. Whoever does not renew is lost: first its MiniNode and MiniPods say so, after a wait its
// MiniPods are deleted so that they are replaced elsewhere, and only when the core Node is gone too are they let go of
// without the agent's word. A MiniPod that runs on a lost node and its replacement may both run for a while; that they are
// never both counted, and that capacity and addresses stay taken, is what the finalizer is for.
//
// The algorithm has two parts. The Tracker turns renewals into a state, by the clock of whoever watches: it counts the time
// since it last saw a Lease change, not the age of what the Lease says, so clocks that differ do no harm and nothing is lost
// within a grace period after the manager's start. Decide turns that state, and what is in the API, into a plan.
//
// What makes it hard is to tell dead agents from a blind watcher. When no agent at all seems alive, or the API server did
// not answer, everybody gets a full grace period from the moment that things work again, and nothing is evicted before.
package nodelife

import (
	"sync"
	"time"
)

// State is what is known about the life of an agent.
type State int

const (
	// Unsure means that not one renewal was seen yet, and the grace period since the first look is not over.
	Unsure State = iota
	// Alive means that a renewal was seen within the grace period.
	Alive
	// Lost means that no renewal was seen for the grace period.
	Lost
)

// Health is the state of one agent at one time.
type Health struct {
	State State
	// LastSeen is when the last renewal was seen, or the first look was taken, by the watcher's clock.
	LastSeen time.Time
	// LostAt is when the agent will be, or was, given up if nothing is heard: LastSeen plus the grace period.
	LostAt time.Time
}

// Tracker remembers when each agent was heard last. Safe for concurrent use.
type Tracker struct {
	grace time.Duration

	mu     sync.Mutex
	agents map[string]*heard
}

type heard struct {
	renewed time.Time // as the Lease says, by the agent's clock
	at      time.Time // by the watcher's clock
	changed bool      // a renewal was seen, not only a Lease
}

// NewTracker makes a tracker that gives an agent up when it is not heard for the grace period.
func NewTracker(grace time.Duration) *Tracker {
	return &Tracker{grace: grace, agents: map[string]*heard{}}
}

// Observe notes the renewal time that a node's Lease tells, seen now. It reports whether the agent is alive now and was not
// before.
func (t *Tracker) Observe(node string, renewed, now time.Time) (returned bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	agent, known := t.agents[node]
	if !known {
		t.agents[node] = &heard{renewed: renewed, at: now}
		return false
	}
	if agent.renewed.Equal(renewed) {
		return false
	}
	if agent.renewed.IsZero() { // a Lease, but perhaps an old one
		agent.renewed, agent.at = renewed, now
		return false
	}
	returned = !t.alive(agent, now)
	if returned && !t.anyAlive(now) {
		t.pardon(now)
	}
	agent.renewed, agent.at, agent.changed = renewed, now, true
	return returned
}

// Health tells the state of a node's agent. The first question about a node starts its grace period.
func (t *Tracker) Health(node string, now time.Time) Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	agent, known := t.agents[node]
	if !known {
		agent = &heard{at: now}
		t.agents[node] = agent
	}
	health := Health{LastSeen: agent.at, LostAt: agent.at.Add(t.grace)}
	switch {
	case t.alive(agent, now):
		health.State = Alive
	case !now.Before(health.LostAt):
		health.State = Lost
	}
	return health
}

// AnyAlive tells whether at least one agent is alive.
func (t *Tracker) AnyAlive(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.anyAlive(now)
}

// NotAlive lists the nodes whose agent is not known to be alive.
func (t *Tracker) NotAlive(now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for node, agent := range t.agents {
		if !t.alive(agent, now) {
			out = append(out, node)
		}
	}
	return out
}

// Pardon starts the grace period of every agent again: the watcher was blind until now.
func (t *Tracker) Pardon(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pardon(now)
}

// Forget drops a node that is gone.
func (t *Tracker) Forget(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.agents, node)
}

// pardon keeps agents that were alive alive, and makes the others unsure.
func (t *Tracker) pardon(now time.Time) {
	for _, agent := range t.agents {
		agent.changed = t.alive(agent, now)
		agent.at = now
	}
}

func (t *Tracker) alive(agent *heard, now time.Time) bool {
	return agent.changed && now.Sub(agent.at) < t.grace
}

func (t *Tracker) anyAlive(now time.Time) bool {
	for _, agent := range t.agents {
		if t.alive(agent, now) {
			return true
		}
	}
	return false
}
