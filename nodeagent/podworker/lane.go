package podworker

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// lanePatience is how long one may be busy before its place is given to the next. What takes longer waits for something, as a server
// of containers that does not answer, and does not take much of the machine.
const lanePatience = 2 * time.Second

// lane lets so many through at a time as it has places. It bounds what the machine has to do at once, not what is waited for: a place
// that is held for long comes back while its holder waits, so that nobody stands behind somebody else's trouble.
type lane struct {
	places chan struct{}
	clock  clock.WithDelayedExecution
}

func newLane(places int, c clock.WithDelayedExecution) *lane {
	return &lane{places: make(chan struct{}, places), clock: c}
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

// turn does something when there is a place for it, unless the context ends first.
func (l *lane) turn(ctx context.Context, do func()) {
	turn := l.take(ctx, nil)
	defer turn.giveBack()
	if turn != nil {
		turn.lend(do)
	}
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
	timer := p.lane.clock.AfterFunc(lanePatience, p.giveBack)
	defer timer.Stop()
	do()
}
