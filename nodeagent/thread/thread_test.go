package thread

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpend: never the first thread, however many ask at once, and the error comes back.
func TestSpend(t *testing.T) {
	want := errors.New("x")
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			if err := Spend(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("the first thread was spent")
				}
				return want
			}); !errors.Is(err, want) {
				t.Errorf("error %v", err)
			}
		})
	}
	group.Wait()
}
