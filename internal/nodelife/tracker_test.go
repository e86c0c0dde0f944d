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

// beat is what an agent writes into its Lease; its clock is wrong by an hour.
func beat(seconds float64) Beat { return Beat{Renewed: at(seconds).Add(-time.Hour)} }

func TestTrackerStates(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	// other is a node that is always there, so that nobody is pardoned.
	keepOther := func(now float64) { tracker.Observe("other", beat(now), at(now)) }
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
			returned = tracker.Observe("node", beat(step.renewed), at(step.now)).Returned
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
	tracker.Observe("a", beat(0), at(0))
	tracker.Observe("b", beat(0), at(0))
	if got := tracker.NotAlive(at(1)); len(got) != 2 {
		t.Errorf("a Lease alone is no sign of life, but not alive: %v", got)
	}
	if news := tracker.Observe("a", beat(4), at(4)); !news.Pardoned {
		t.Error("the first that is heard pardons the others")
	}
	if got := tracker.NotAlive(at(20)); len(got) != 2 {
		t.Errorf("alive for the grace period after a renewal, but not alive after it: %v", got)
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
		tracker.Observe(node, beat(0), at(0))
		tracker.Observe(node, beat(4), at(4))
	}
	if state := tracker.Health("b", at(60)).State; state != Lost {
		t.Fatalf("b is %d", state)
	}
	tracker.Observe("a", beat(60), at(60))
	health := tracker.Health("b", at(60))
	if health.State != Unsure || !health.LostAt.Equal(at(76)) {
		t.Errorf("b is %d, lost at %v", health.State, health.LostAt)
	}
	tracker.Observe("c", beat(62), at(62))
	if state := tracker.Health("c", at(62)).State; state != Alive {
		t.Errorf("c is %d", state)
	}
	tracker.Observe("a", beat(75), at(75))
	if state := tracker.Health("b", at(76)).State; state != Lost {
		t.Errorf("b is %d although it had its grace period", state)
	}
}

func TestPardonGivesEverybodyAGracePeriod(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	tracker.Observe("alive", beat(0), at(0))
	tracker.Observe("alive", beat(10), at(10))
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

// A witness that renews seldom is not given up between two renewals.
func TestSeldomRenewals(t *testing.T) {
	tracker := NewTracker(16 * time.Second)
	seldom := func(seconds float64) Beat { return Beat{Renewed: at(seconds), Every: 40 * time.Second} }
	tracker.Observe("kubelet", seldom(0), at(0))
	tracker.Observe("kubelet", seldom(40), at(40))
	if got := tracker.Health("kubelet", at(100)); got.State != Alive || !got.HasLease || !got.LostAt.Equal(at(104)) {
		t.Errorf("%+v", got)
	}
	if tracker.Quiet("kubelet", at(71)) || !tracker.Quiet("kubelet", at(72)) {
		t.Error("quiet is half of its own grace period")
	}
}
