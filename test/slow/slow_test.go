package slow_test

import (
	"testing"
	"time"

	"miniplane.dev/miniplane/test/slow"
)

func TestBy(t *testing.T) {
	for factor, want := range map[string]time.Duration{"": time.Second, "1": time.Second, "5": 5 * time.Second} {
		t.Setenv(slow.Machine, factor)
		if got := slow.By(time.Second); got != want {
			t.Errorf("%q: %s, want %s", factor, got, want)
		}
	}
	for _, factor := range []string{"0", "-1", "2.5", "fast"} {
		t.Run(factor, func(t *testing.T) {
			t.Setenv(slow.Machine, factor)
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken for a factor", factor)
				}
			}()
			slow.By(time.Second)
		})
	}
}
