package podworker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// lanePatience is how long one may be busy before its place is given to the next. What takes longer waits for something, as a server
// of containers that does not answer, and does not take much of the machine.
const lanePatience = 2 * time.Second

// mostLanePatience is the longest that one may be busy with the agent's own work before its place is given to the next, however many have taken long
// before it: as long as an action may take.
const mostLanePatience = actionTimeout

// lane lets so many through at a time as it has places. It bounds what the machine has to do at once, not what is waited for: a place
// that is held for long comes back while its holder waits, so that nobody stands behind somebody else's trouble.
//
// That so many take long as there are places may have another reason: the machine is slow, because it has too much to do. To let others in would make it
// slower still, and so on, until nothing ends any more. So each time, the next must be busy four times as long until its place comes back.
type lane struct {
	places chan struct{}
	clock  clock.WithDelayedExecution
	// ofTenants tells that what is done takes as long as tenants' programs like, which says nothing of the machine.
	ofTenants bool
	// overstaying is how many are still busy whose places came back.
	overstaying atomic.Int32
	// lines are those of each tenant: who is at the head of one stands in the line of all.
	lines lines
}

func newLane(places int, c clock.WithDelayedExecution) *lane {
	return &lane{places: make(chan struct{}, places), clock: c}
}

// newTenantsLane is a lane for what tenants have done, as commands of probes and hooks.
func newTenantsLane(places int, c clock.WithDelayedExecution) *lane {
	l := newLane(places, c)
	l.ofTenants = true
	return l
}

// place is one in a lane; nil is none.
type place struct {
	lane  *lane
	given atomic.Bool // back
}

// take waits for a place; nil when the context ends or wake tells of news first.
func (l *lane) take(ctx context.Context, wake <-chan struct{}) *place {
	select {
	case l.places <- struct{}{}:
		return &place{lane: l}
	case <-wake:
	case <-ctx.Done():
	}
	return nil
}

// turn does something for a tenant when there is a place for it, unless the context ends first. Tenants take turns, so that one who has very much to do keeps the others waiting
// for no more than one of that.
func (l *lane) turn(ctx context.Context, tenant string, do func()) {
	leave := l.lines.join(ctx, tenant)
	if leave == nil {
		return
	}
	turn := l.take(ctx, nil)
	leave()
	defer turn.giveBack()
	if turn != nil {
		turn.lend(do)
	}
}

// lines are queues of tenants; one that nobody stands in is forgotten.
type lines struct {
	mu sync.Mutex
	of map[string]*line
}

type line struct {
	head  chan struct{}
	users int
}

// join waits to be at the head of a tenant's line, and gives what leaves it; nil when the context ends first.
func (l *lines) join(ctx context.Context, tenant string) (leave func()) {
	l.mu.Lock()
	own := l.of[tenant]
	if own == nil {
		if l.of == nil {
			l.of = map[string]*line{}
		}
		own = &line{head: make(chan struct{}, 1)}
		l.of[tenant] = own
	}
	own.users++
	l.mu.Unlock()
	gone := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(l.of, tenant)
		}
	}
	select {
	case own.head <- struct{}{}:
		return func() { <-own.head; gone() }
	case <-ctx.Done():
		gone()
		return nil
	}
}

// patience is how long who begins now may be busy before its place comes back.
func (l *lane) patience() time.Duration {
	patience := lanePatience
	if l.ofTenants {
		return patience
	}
	for range int(l.overstaying.Load()) / cap(l.places) {
		if patience *= 4; patience >= mostLanePatience {
			return mostLanePatience
		}
	}
	return patience
}

// giveBack can be called again, by anybody.
func (p *place) giveBack() {
	if p != nil && !p.given.Swap(true) {
		<-p.lane.places
	}
}

// held tells whether there is a place, and it was not given back.
func (p *place) held() bool { return p != nil && !p.given.Load() }

// lend does something in the place, and gives it back when that takes long.
func (p *place) lend(do func()) {
	if !p.held() {
		do()
		return
	}
	var over atomic.Bool // what is done, or the patience with it
	timer := p.lane.clock.AfterFunc(p.lane.patience(), func() {
		if p.held() && !over.Swap(true) { // or it was given back for what takes no place
			p.lane.overstaying.Add(1)
			p.giveBack()
		}
	})
	defer func() {
		timer.Stop()
		if over.Swap(true) {
			p.lane.overstaying.Add(-1)
		}
	}()
	do()
}
