package coalesce

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

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
