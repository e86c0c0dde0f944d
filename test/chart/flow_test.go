package chart

import (
	"strings"
	"testing"
)

// Who may not create FlowSchemas can install the rest.
func TestFlowsCanBeLeftOut(t *testing.T) {
	for values, want := range map[string]int{"{}": 4, "priorityAndFairness: {enabled: false}": 0} {
		stream, err := template(t, values)
		if err != nil {
			t.Fatal(err, stream)
		}
		got := 0
		for name := range objects(t, stream) {
			if strings.HasPrefix(name, "FlowSchema/") || strings.HasPrefix(name, "PriorityLevelConfiguration/") {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d objects, want %d", values, got, want)
		}
	}
}
