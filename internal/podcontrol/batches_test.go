package podcontrol_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/internal/podcontrol"
)

func TestBatches(t *testing.T) {
	for n, want := range map[int][]int{0: nil, 1: {1}, 2: {1, 1}, 7: {1, 2, 4}, 10: {1, 2, 4, 3},
		1000: {1, 2, 4, 8, 16, 32, 64, 128, 256, 489}} {
		if diff := cmp.Diff(want, slices.Collect(podcontrol.Batches(n))); diff != "" {
			t.Errorf("%d (-want,+got):\n%s", n, diff)
		}
	}
	failed := errors.New("refused")
	sent := func() (sent int, err error) {
		for size := range podcontrol.Batches(1000) {
			if sent += size; sent > 3 {
				return sent, failed
			}
		}
		return sent, nil
	}
	if n, _ := sent(); n != 7 {
		t.Errorf("%d requests before the failure stops them, want 7", n)
	}
}
