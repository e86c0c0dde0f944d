package spread_test

import (
	"testing"

	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/spread"
)

func TestScore(t *testing.T) {
	node := &framework.NodeInfo{}
	score := func(group framework.Group) int64 { return spread.Plugin{}.Score(&framework.Pod{Group: group}, node) }
	for n := range int64(4) {
		if got, want := score(7), framework.MaxScore/(n+1); got != want {
			t.Errorf("with %d: %d, want %d", n, got, want)
		}
		if score(8) != framework.MaxScore || score(0) != framework.MaxScore {
			t.Error("other groups do not count")
		}
		node.Charge(&framework.Pod{Group: 7})
	}
}
