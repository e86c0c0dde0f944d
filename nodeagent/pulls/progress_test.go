package pulls

import (
	"testing"
	"time"
	"unsafe"
)

// set gives the same moment by a wall clock that was set by d meanwhile.
func set(t *testing.T, moment time.Time, d time.Duration) time.Time {
	t.Helper()
	out := moment.Add(d)
	(*struct { // as in package time: with a reading of the monotonic clock, that is in ext
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&out)).ext -= int64(d)
	if out.Sub(moment) != 0 || out.Round(0).Sub(moment.Round(0)) != d {
		t.Fatal("a time is not made of what this test takes it to be")
	}
	return out
}

// A pull is silent for as long as nothing comes, and not for as long as the machine's time was set forward.
func TestQuietWhileTheTimeIsSet(t *testing.T) {
	for _, d := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		p := progress{began: time.Now()}
		p.Request(1)
		p.Bytes(100)
		now := time.Now().Add(5 * time.Second)
		if got := p.quiet(set(t, now, d)); got < 5*time.Second || got > 6*time.Second {
			t.Errorf("silent for %s after the time was set by %s, want 5 s", got, d)
		}
	}
}
