package podworker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// hang makes an operation on the containers of some MiniPods wait until the test's end, as behind a server that does not answer.
func (b *bench) hang(op fake.Op, name string) {
	end := make(chan struct{})
	b.t.Cleanup(func() { close(end) })
	b.runtime.OnCall(func(ctx context.Context, called fake.Op, id string) error {
		spec, _ := b.runtime.Spec(id)
		if called != op || !strings.HasPrefix(spec.Labels["miniplane.dev/pod-name"], name) {
			return nil
		}
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// TestHungStartsHoldNobodyUp: as many starts as there are places hang; others start all the same, when the places came back.
func TestHungStartsHoldNobodyUp(t *testing.T) {
	b := newBench(t)
	b.hang(fake.OpStart, "hung")
	places := cap(b.pool.launches.places)
	for i := range places {
		b.create(fmt.Sprintf("hung-%02d", i))
	}
	b.until("all places are taken", func() bool {
		return len(b.runtime.Calls(fake.OpStart)) == places && len(b.pool.launches.places) == places
	})
	b.create("other")
	b.pass(lanePatience - time.Millisecond)
	if len(b.running()) != 0 {
		t.Error("a place was given away at once")
	}
	b.pass(time.Millisecond)
	b.shows("other", "Running")
	b.until("no place is held", func() bool { return len(b.pool.launches.places) == 0 })
}

// TestHungRemovalsHoldNobodyUp is the same of removals.
func TestHungRemovalsHoldNobodyUp(t *testing.T) {
	b := newBench(t)
	places := cap(b.pool.removals.places)
	for i := range places {
		b.create(fmt.Sprintf("hung-%02d", i))
	}
	b.create("other")
	b.until("all run", func() bool { return len(b.running()) == places+1 })
	b.hang(fake.OpRemove, "hung")
	for i := range places {
		b.delete(fmt.Sprintf("hung-%02d", i))
	}
	b.until("all places are taken", func() bool { return len(b.pool.removals.places) == places })
	b.delete("other")
	b.until("it was told to end", func() bool { return len(b.running()) == 0 })
	b.pass(lanePatience)
	b.until("the other is gone", func() bool { return b.get("other") == nil })
}

// TestCopiesHoldNoStartUp: however many copy what their images have in volumes, and however long that takes, others start; those of another namespace have their turn
// with copies too.
func TestCopiesHoldNoStartUp(t *testing.T) {
	b := newBench(t)
	end := make(chan struct{})
	b.runtime.SetCopies(func(spec runtime.ContainerSpec) {
		if strings.HasPrefix(spec.Labels["miniplane.dev/pod-name"], "large") {
			<-end
		}
	})
	places := cap(b.pool.launches.places)
	for i := range 2 * places {
		b.create(fmt.Sprintf("large-%02d", i))
	}
	b.until("all that can copy do", func() bool { return len(b.pool.copies.places) == cap(b.pool.copies.places) })
	b.until("nobody holds a place for starts", func() bool { return len(b.pool.launches.places) == 0 })
	b.pass(10 * time.Minute)
	if patience := b.pool.launches.patience(); patience != lanePatience {
		t.Errorf("the lane of starts has a patience of %s", patience)
	}
	b.runtime.SetCopies(nil)
	b.create("other")
	b.shows("other", "Running")
	close(end)
	b.until("all run", func() bool { b.clock.Step(time.Second); return len(b.running()) == 2*places+1 })
}

// stay is somebody who is busy in a lane until its end is closed.
func stay(t *testing.T, l *lane) (end chan struct{}) {
	end = make(chan struct{})
	go l.turn(t.Context(), "a", func() { <-end })
	return end
}

// TestLaneOfASlowMachine: where all of a lane take long, ever fewer are let in beside them; and as before when they are done.
func TestLaneOfASlowMachine(t *testing.T) {
	const places = 3
	for name, wants := range map[string][]time.Duration{
		"own work":       {lanePatience, 4 * lanePatience, 16 * lanePatience, mostLanePatience, mostLanePatience},
		"tenants' hooks": {lanePatience, lanePatience, lanePatience, lanePatience, lanePatience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLane(places, clock.RealClock{})
				l.ofTenants = name != "own work"
				var ends []chan struct{}
				for i, want := range wants {
					for range places {
						ends = append(ends, stay(t, l))
					}
					synctest.Wait()
					time.Sleep(want - time.Millisecond)
					synctest.Wait()
					if taken := len(l.places); taken != places {
						t.Errorf("round %d: %d places are taken before %s are over", i, taken, want)
					}
					time.Sleep(time.Millisecond)
					synctest.Wait()
					if taken := len(l.places); taken != 0 {
						t.Errorf("round %d: %d places are taken after %s", i, taken, want)
					}
				}
				for _, end := range ends {
					close(end)
				}
				synctest.Wait()
				if left, patience := l.overstaying.Load(), l.patience(); left != 0 || patience != lanePatience {
					t.Errorf("%d overstay when all is done, and the patience is %s", left, patience)
				}
			})
		})
	}
}

// TestTenantsTakeTurns: who has very much to do keeps another waiting for no more than one of that, and nobody who gave up is waited for.
func TestTenantsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTenantsLane(1, clock.RealClock{})
		var order []string // by who has the only place
		next := make(chan struct{})
		stand := func(ctx context.Context, tenant string) {
			go l.turn(ctx, tenant, func() {
				order = append(order, tenant)
				<-next
			})
			synctest.Wait()
		}
		gaveUp, giveUp := context.WithCancel(t.Context())
		for range 50 {
			stand(t.Context(), "greedy")
		}
		stand(gaveUp, "modest")
		stand(t.Context(), "modest")
		giveUp()
		synctest.Wait()
		for range 51 {
			next <- struct{}{}
			synctest.Wait()
		}
		if first := slices.Index(order, "modest"); len(order) != 51 || first < 0 || first > 2 {
			t.Errorf("%d turns, and the modest one is number %d of them", len(order), first)
		}
		if len(l.lines.of) > 0 || len(l.places) > 0 {
			t.Errorf("%d lines and %d places are left", len(l.lines.of), len(l.places))
		}
	})
}
