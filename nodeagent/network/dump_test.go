package network

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestWhole: a list that was interrupted is never used, and what is wrong otherwise is told at once.
func TestWhole(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		what        string
		interrupted int
		then        error
		tries       int
		want        error
	}{
		{"at once", 0, nil, 1, nil},
		{"after a while", 3, nil, 4, nil},
		{"never", 1 << 30, nil, mostDumps + 1, netlink.ErrDumpInterrupted},
		{"broken", 1, broken, 2, broken},
	} {
		tries := 0
		got, err := whole(func() ([]int, error) {
			tries++
			if tries <= test.interrupted {
				return nil, fmt.Errorf("links: %w", netlink.ErrDumpInterrupted)
			}
			return []int{1, 2}, test.then
		})
		if !errors.Is(err, test.want) || tries != test.tries || err == nil && !slices.Equal(got, []int{1, 2}) {
			t.Errorf("%s: %v, %v after %d tries", test.what, got, err, tries)
		}
	}
}
