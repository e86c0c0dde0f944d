package scheduling

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// take takes a slot, and says how long that took.
func take(w *writers) time.Duration {
	start := time.Now()
	w.slots <- struct{}{}
	return time.Since(start)
}

// hangs is a write that gets its answer after a while.
func hangs(after time.Duration, answered bool) write {
	return func() bool { <-time.After(after); return answered }
}

// Writes of one namespace that hang hold all slots for a second, and then never again.
func TestHangingWritesOfOneNamespaceDoNotHoldTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWriters(8)
		for range 8 {
			take(w)
			w.start("tenant", hangs(30*time.Second, false))
		}
		if waited := take(w); waited != patience {
			t.Errorf("the first slot came back after %v", waited)
		}
		for range 100 { // more of it wait among themselves
			w.start("tenant", hangs(30*time.Second, false))
			if waited := take(w); waited != 0 {
				t.Fatalf("a slot came back after %v", waited)
			}
		}
		var done atomic.Int32
		for range 100 {
			w.start("other", func() bool { done.Add(1); return true })
			if waited := take(w); waited != 0 {
				t.Fatalf("another namespace waited %v", waited)
			}
		}
		<-w.slots
		synctest.Wait()
		if done.Load() != 100 {
			t.Errorf("%d of 100 written", done.Load())
		}
		w.going.Wait()
		if w.slowNamespaces() != 1 {
			t.Error("a namespace whose last write hung is slow")
		}
	})
}

// A slow namespace writes few at a time, everything once, and is as any other when it was answered.
func TestSlowNamespaceRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWriters(8)
		take(w)
		w.start("tenant", func() bool { return false })
		w.going.Wait()
		if w.slowNamespaces() != 1 {
			t.Fatal("no answer, and not slow")
		}
		var running, most, done atomic.Int32
		start := time.Now()
		for range 20 {
			take(w)
			w.start("tenant", func() bool {
				most.Store(max(most.Load(), running.Add(1)))
				<-time.After(100 * time.Millisecond)
				running.Add(-1)
				done.Add(1)
				return true
			})
		}
		w.going.Wait()
		if took := time.Since(start); most.Load() != slowWriters || done.Load() != 20 || took != 500*time.Millisecond {
			t.Errorf("%d written, %d at a time, in %v", done.Load(), most.Load(), took)
		}
		if w.slowNamespaces() != 0 {
			t.Error("it is slow still")
		}
	})
}

// Two slow namespaces do not hold up one another.
func TestSlowNamespacesHaveLanesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWriters(2)
		for _, name := range []string{"a", "b"} {
			take(w)
			w.start(name, func() bool { return false })
		}
		w.going.Wait()
		for range 50 {
			take(w)
			w.start("a", hangs(10*time.Second, true))
		}
		start := time.Now()
		var took time.Duration
		take(w)
		w.start("b", func() bool { took = time.Since(start); return true })
		w.going.Wait()
		if took != 0 {
			t.Errorf("b waited %v for a", took)
		}
	})
}
