package coalesce

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The first run is held up until all others have come, so that they must share the second.
func TestCallersShareTheNextRun(t *testing.T) {
	first, proceed := make(chan struct{}), make(chan struct{})
	var runs [][]int
	failed := errors.New("failed")
	b := Batcher[int]{Run: func(items []int) error {
		runs = append(runs, slices.Sorted(slices.Values(items)))
		if len(runs) == 1 {
			close(first)
			<-proceed
			return nil
		}
		return failed
	}}
	var all sync.WaitGroup
	all.Go(func() {
		if err := b.Do(t.Context(), 0); err != nil {
			t.Errorf("the first run succeeded, but: %v", err)
		}
	})
	<-first
	for i := 1; i <= 3; i++ {
		all.Go(func() {
			if err := b.Do(t.Context(), i); !errors.Is(err, failed) {
				t.Errorf("the second run failed, but: %v", err)
			}
		})
	}
	for gathered := 0; gathered < 3; {
		b.mu.Lock()
		gathered = len(b.items)
		b.mu.Unlock()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Do(ended, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("want the context's error, got %v", err)
	}
	close(proceed)
	all.Wait()
	if diff := cmp.Diff([][]int{{0}, {1, 2, 3, 4}}, runs); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

// Callers come at 0, 5, 15, 25 ms and so on, to runs of 10 ms each that are followed by a rest of 90.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type run struct {
			At    time.Duration
			Items int
		}
		start := time.Now()
		var runs []run
		b := Batcher[int]{
			Run: func(items []int) error {
				runs = append(runs, run{time.Since(start), len(items)})
				<-time.After(10 * time.Millisecond)
				return nil
			},
			Rest: func(took time.Duration) time.Duration { return 9 * took },
		}
		var all sync.WaitGroup
		for i := range 15 {
			all.Go(func() {
				if err := b.Do(t.Context(), i); err != nil {
					t.Error(err)
				}
			})
			<-time.After(time.Duration(min(5+5*i, 10)) * time.Millisecond)
		}
		all.Wait()
		<-time.After(time.Second) // nobody waits and the rest is over: the next caller is served at once
		if err := b.Do(t.Context(), 15); err != nil {
			t.Error(err)
		}
		want := []run{{0, 1}, {100 * time.Millisecond, 10}, {200 * time.Millisecond, 4}, {1210 * time.Millisecond, 1}}
		if diff := cmp.Diff(want, runs); diff != "" {
			t.Errorf("runs (-want +got):\n%s", diff)
		}
		<-time.After(time.Second)
	})
}
