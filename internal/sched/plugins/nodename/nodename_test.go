package nodename_test

import (
	"testing"

	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/nodename"
)

func TestFilter(t *testing.T) {
	for asked, want := range map[string]framework.Reason{
		"":   {},
		"n1": {},
		"n2": {Code: framework.OtherNode, Detail: "n2"},
	} {
		if got := (nodename.Plugin{}).Filter(&framework.Pod{NodeName: asked}, &framework.NodeInfo{Name: "n1"}); got != want {
			t.Errorf("asked for %q: %+v, want %+v", asked, got, want)
		}
	}
}
