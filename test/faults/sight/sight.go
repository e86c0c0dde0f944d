// Package sight counts what faults did to containers and to a service, from what was seen of them from outside. It is pure.
//
// The idea: a look at the kernel tells which containers have living processes, and when the first of each began. A container that
// was there at the beginning and has another first process later was restarted, whatever the product says of it. Two attempts of one
// container that live in the same look are a double. A service is good or bad at each moment that it is asked, and what lies
// between a bad answer and the next good one was bad.
package sight

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Life is one life of a container.
type Life struct {
	// Attempt tells the containers apart that followed each other in one place.
	Attempt string
	// Start is when its first process began, in ticks since the boot.
	Start uint64
}

// Look is what one look saw: the lives of each container that has any, in any order.
type Look map[string][]Life

// Split parts the ID of a container, <MiniPod's UID>-<name>-<attempt>, into the place and the attempt.
func Split(id string) (container, attempt string) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 {
		return id, ""
	}
	return id[:i], id[i+1:]
}

// Account is what several looks saw.
type Account struct {
	steady  map[string]bool
	first   Look
	lives   map[string]map[Life]bool
	doubles map[string]bool
	last    Look
}

// Begin starts an account. The steady containers are those whose restarts count.
func Begin(first Look, steady []string) *Account {
	a := &Account{first: first, steady: map[string]bool{}, lives: map[string]map[Life]bool{}, doubles: map[string]bool{}}
	for _, container := range steady {
		a.steady[container] = true
	}
	a.Add(first)
	return a
}

// Add takes another look into the account.
func (a *Account) Add(look Look) {
	a.last = look
	for container, lives := range look {
		if len(lives) > 1 {
			a.doubles[container] = true
		}
		if !a.steady[container] {
			continue
		}
		if a.lives[container] == nil {
			a.lives[container] = map[Life]bool{}
		}
		for _, life := range lives {
			if !a.hasBegun(container, life.Attempt) {
				life.Start = 0 // while it starts, its first process is another's
			}
			a.lives[container][life] = true
		}
	}
}

// hasBegun tells whether an attempt lived when the account began.
func (a *Account) hasBegun(container, attempt string) bool {
	return slices.ContainsFunc(a.first[container], func(l Life) bool { return l.Attempt == attempt })
}

// Restarts is how many lives the steady containers had beyond one each.
func (a *Account) Restarts() (n int) {
	for _, lives := range a.lives {
		n += len(lives) - 1
	}
	return n
}

// Gone are the steady containers of which nothing lived in the last look.
func (a *Account) Gone() []string {
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(a.steady)), func(c string) bool { return len(a.last[c]) > 0 })
	slices.Sort(gone)
	return gone
}

// Doubles are the containers, steady or not, that were seen to live twice at once.
func (a *Account) Doubles() []string { return slices.Sorted(maps.Keys(a.doubles)) }

// Outage adds up the time for which something was bad. The zero value is one that never was.
type Outage struct {
	bad   bool
	since time.Time
	total time.Duration
	times int
}

// Note takes what was seen at a moment.
func (o *Outage) Note(good bool, at time.Time) {
	switch {
	case good && o.bad:
		o.total += at.Sub(o.since)
		o.bad = false
	case !good && !o.bad:
		o.bad, o.since = true, at
		o.times++
	}
}

// Total is how long it was bad until now, and how often it became so.
func (o *Outage) Total(now time.Time) (time.Duration, int) {
	if o.bad {
		return o.total + now.Sub(o.since), o.times
	}
	return o.total, o.times
}
