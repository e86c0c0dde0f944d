package jitter

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	const d = 4 * time.Second
	up, down := map[time.Duration]bool{}, map[time.Duration]bool{}
	for range 1000 {
		u, l := Up(d), Down(d)
		if u < d || u >= d*3/2 {
			t.Fatalf("Up: %s", u)
		}
		if l > d || l <= d/2 {
			t.Fatalf("Down: %s", l)
		}
		if a := Around(d); a < d*7/8 || a >= d*9/8 {
			t.Fatalf("Around: %s", a)
		}
		up[u.Truncate(d/20)], down[l.Truncate(d/20)] = true, true
	}
	if len(up) < 10 || len(down) < 10 {
		t.Errorf("of ten parts of the time, Up used %d and Down %d", len(up), len(down))
	}
}

func TestNoTime(t *testing.T) {
	if Up(0) != 0 || Down(0) != 0 || Up(-time.Second) != -time.Second || Up(1) != 1 || Down(1) != 1 || Around(0) != 0 {
		t.Error("a wait of nothing is not nothing")
	}
}
