package containerd

import (
	"os"
	"testing"
	"time"
)

// TestStartOf: between start and end lies how long it ran, whatever the machine's clock was set to meanwhile.
func TestStartOf(t *testing.T) {
	const up, ran = time.Hour, 3 * time.Minute
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := marker{at: at, process: process{pid: 7, began: uint64((up - ran) / tick)}}
	for name, set := range map[string]time.Duration{"not set": 0, "forward": 10 * time.Minute, "back": -10 * time.Minute, "a little": 2 * time.Second} {
		for _, late := range []time.Duration{0, 20 * time.Second} { // the end is heard of
			finished := at.Add(ran + set)
			got := finished.Sub(startOf(m, finished, finished.Add(late), up+late))
			if (got - ran).Abs() > 2*time.Second {
				t.Errorf("%s, heard %v later: ran %v, want %v", name, late, got, ran)
			}
		}
	}
	finished := at.Add(ran)
	for name, got := range map[string]time.Time{
		"of an earlier version":   startOf(marker{at: at}, finished, finished, up),
		"the kernel does not say": startOf(m, finished, finished, 0),
		"nonsense":                startOf(m, finished, finished, time.Minute),
		"nothing was set":         startOf(m, finished, finished, up),
	} {
		if !got.Equal(at) {
			t.Errorf("%s: %v, want what the marker says", name, got)
		}
	}
	now, alive, err := seen(os.Getpid())
	if age := uptime() - time.Duration(now.began)*tick; err != nil || !alive || age < 0 || age > time.Hour {
		t.Errorf("this process is %v old", age)
	}
}
