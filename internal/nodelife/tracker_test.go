package nodelife

import (
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

// at is a time in seconds after the start of the story.
func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// agentClock is what an agent writes into its Lease; its clock is wrong by an hour.
func agentClock(seconds float64) time.Time { return at(seconds).Add(-time.Hour) }

func TestTrackerStates(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	// other is a node that is always there, so that nobody is pardoned.
	keepOther := func(now float64) { tracker.Observe("other", agentClock(now), at(now)) }
	keepOther(0)
	keepOther(1)

	steps := []struct {
		name     string
		now      float64
		renewed  float64 // 0 for no event
		returned bool
		want     State
	}{
		{"a first look", 1, 0, false, Unsure},
		{"a Lease that may be old", 2, -100, false, Unsure},
		{"the same again, from a relist", 10, -100, false, Unsure},
		{"grace over", 18, 0, false, Lost},
		{"first renewal", 20, 19, true, Alive},
		{"renewals", 24, 23, false, Alive},
		{"just in time", 39.9, 0, false, Alive},
		{"silent for the grace period", 40, 0, false, Lost},
		{"back", 50, 49, true, Alive},
	}
	for _, step := range steps {
		keepOther(step.now)
		returned := false
		if step.renewed != 0 {
			returned = tracker.Observe("node", agentClock(step.renewed), at(step.now))
		}
		health := tracker.Health("node", at(step.now))
		if health.State != step.want || returned != step.returned {
			t.Errorf("%s: state %d, returned %v; want %d, %v", step.name, health.State, returned, step.want, step.returned)
		}
		if want := health.LastSeen.Add(16 * time.Second); !health.LostAt.Equal(want) {
			t.Errorf("%s: lost at %v, want %v", step.name, health.LostAt, want)
		}
	}
}

func TestNobodyIsAliveAtTheStart(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	tracker.Observe("a", agentClock(0), at(0))
	tracker.Observe("b", agentClock(0), at(0))
	if tracker.AnyAlive(at(1)) {
		t.Error("a Lease alone is no sign of life")
	}
	tracker.Observe("a", agentClock(4), at(4))
	if !tracker.AnyAlive(at(5)) || tracker.AnyAlive(at(20)) {
		t.Error("alive for the grace period after a renewal")
	}
	if got := tracker.NotAlive(at(5)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("not alive: %v", got)
	}
	tracker.Forget("b")
	if got := tracker.NotAlive(at(5)); len(got) != 0 {
		t.Errorf("not alive: %v", got)
	}
}

// When everybody was silent, the first who is heard proves that the others may just not have been heard.
func TestFirstSignAfterSilencePardonsTheOthers(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	for _, node := range []string{"a", "b", "c"} {
		tracker.Observe(node, agentClock(0), at(0))
		tracker.Observe(node, agentClock(4), at(4))
	}
	if state := tracker.Health("b", at(60)).State; state != Lost {
		t.Fatalf("b is %d", state)
	}
	tracker.Observe("a", agentClock(60), at(60))
	health := tracker.Health("b", at(60))
	if health.State != Unsure || !health.LostAt.Equal(at(76)) {
		t.Errorf("b is %d, lost at %v", health.State, health.LostAt)
	}
	tracker.Observe("c", agentClock(62), at(62))
	if state := tracker.Health("c", at(62)).State; state != Alive {
		t.Errorf("c is %d", state)
	}
	tracker.Observe("a", agentClock(75), at(75))
	if state := tracker.Health("b", at(76)).State; state != Lost {
		t.Errorf("b is %d although it had its grace period", state)
	}
}

func TestPardonGivesEverybodyAGracePeriod(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	tracker.Observe("alive", agentClock(0), at(0))
	tracker.Observe("alive", agentClock(10), at(10))
	tracker.Health("silent", at(0))
	tracker.Pardon(at(20))
	if got := tracker.Health("alive", at(35)).State; got != Alive {
		t.Errorf("alive is %d", got)
	}
	if got := tracker.Health("silent", at(35)).State; got != Unsure {
		t.Errorf("silent is %d", got)
	}
	if got := tracker.Health("silent", at(36)).State; got != Lost {
		t.Errorf("silent is %d after its grace period", got)
	}
}
