package podworker

import (
	"slices"
	"testing"
	"time"

	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// What ends when a new agent has looked and does not work yet is told to it; it need not look again.
func TestEndAfterTheLook(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.kill()
	b.runtime.ResetCalls()
	looks := 0
	b.adopted = func() {
		looks = len(b.runtime.Calls(fake.OpList))
		b.exit(1)
		b.runtime.ResetCalls()
	}
	b.agent()
	began := time.Now()
	b.until("restarted", func() bool { p := b.get("a"); return p.Status.Restarts == 1 && p.Status.Summary == "Running" })
	if more := len(b.runtime.Calls(fake.OpList)); looks != 1 || more != 0 && time.Since(began) < settled/2 {
		t.Errorf("%d looks to begin with, %d more until it was restarted", looks, more)
	}
}

// When the runtime goes away in that moment, nobody tells, and the next look is not put off.
func TestEndUnheard(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.kill()
	b.adopted = func() {
		b.runtime.SetDown(true)
		b.runtime.SetDown(false)
		b.exit(1)
		b.runtime.ResetCalls()
	}
	b.agent()
	b.until("restarted", func() bool { p := b.get("a"); return p.Status.Restarts == 1 && p.Status.Summary == "Running" })
	if looks := len(b.runtime.Calls(fake.OpList)); looks == 0 {
		t.Error("nobody looked")
	}
}

// A container of which the first look did not tell is asked for again soon, without another look at the whole machine.
func TestUnansweredAtTheStart(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.kill()
	id := b.running()[0]
	b.runtime.SetSilent(id, true)
	b.adopted = func() { b.runtime.SetSilent(id, false); b.runtime.ResetCalls() }
	began := time.Now()
	b.agent()
	b.pass(podplan.UnavailableRetry)
	b.until("it was asked for", func() bool {
		return slices.Contains(b.runtime.Calls(fake.OpInspect), fake.Call{Op: fake.OpInspect, Subject: id})
	})
	if looks := len(b.runtime.Calls(fake.OpList)); looks != 0 && time.Since(began) < settled/2 {
		t.Errorf("%d looks", looks)
	}
}
