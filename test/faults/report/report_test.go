package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each count breaks its own promise and no other, and keeps it at its limit.
func TestBroken(t *testing.T) {
	for name, row := range map[string]Row{
		"containers restarted: 1, promised 0":   {Restarted: 1},
		"MiniPods lost: 2, promised 1":          {Lost: 2, Promise: Promise{Lost: 1}},
		"doubles: 1, promised 0":                {Doubles: 1},
		"endpoints wrong: 1.5 s, promised 0":    {Wrong: 1500 * time.Millisecond},
		"service silent: 3.0 s, promised 2.0 s": {Silent: 3 * time.Second, Promise: Promise{Silent: 2 * time.Second}},
		"leaks: 1, promised 0":                  {Leaks: []string{"link mini1"}},
		"could not":                             {Failed: "could not"},
	} {
		if diff := cmp.Diff([]string{name}, row.Broken()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	kept := Row{Restarted: 7, Lost: 1, Silent: time.Second, Promise: Promise{Restarted: Any, Lost: 1, Silent: time.Second}}
	if got := kept.Broken(); got != nil {
		t.Errorf("kept, but: %v", got)
	}
	if got := (Row{NotRun: "no machine", Restarted: 3}).Broken(); got != nil {
		t.Errorf("not run, but: %v", got)
	}
}

func TestMarkdown(t *testing.T) {
	got := Markdown([]Row{
		{Fault: "agent killed", Where: "full", Tried: 50, Date: "2026-01-02"},
		{Fault: "shims killed", Where: "full", Tried: 2, Restarted: 90, Silent: 3 * time.Second, Leaks: []string{"link mini1"},
			Promise: Promise{Restarted: Any, Silent: 5 * time.Second}, Date: "2026-01-03"},
		{Fault: "clock", Where: "vm", NotRun: "the clock belongs to all"},
	})
	want := `| fault | on | tried | containers restarted | MiniPods lost | doubles | endpoints wrong for | service silent for | leaks | run on |
|---|---|---|---|---|---|---|---|---|---|
| agent killed | full | 50 | 0 | 0 | 0 | 0 | 0 | 0 | 2026-01-02 |
| shims killed | full | 2 | 90 (not promised) | 0 | 0 | 0 | 3.0 s (≤ 5.0 s) | **1** (promised: 0) | 2026-01-03 |
| clock | vm | the clock belongs to all | | | | | | | |

- **shims killed**: left behind: ` + "`link mini1`" + `
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMerge(t *testing.T) {
	old := []Row{{Fault: "a", Where: "full", Tried: 1}, {Fault: "b", Where: "full", Tried: 2}}
	got := Merge(old, []Row{{Fault: "b", Where: "full", Tried: 9}, {Fault: "b", Where: "local", Tried: 3}})
	want := []Row{{Fault: "a", Where: "full", Tried: 1}, {Fault: "b", Where: "full", Tried: 9}, {Fault: "b", Where: "local", Tried: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if old[1].Tried != 2 {
		t.Error("the old rows were changed")
	}
}

func TestBetween(t *testing.T) {
	got, err := Between("head\n<!-- a -->\nold\n<!-- b -->\ntail\n", "<!-- a -->", "<!-- b -->", "new\n")
	if want := "head\n<!-- a -->\nnew\n<!-- b -->\ntail\n"; err != nil || got != want {
		t.Errorf("%v, got %q", err, got)
	}
	if _, err := Between("nothing", "<!-- a -->", "<!-- b -->", "new\n"); err == nil || !strings.Contains(err.Error(), "<!-- a -->") {
		t.Errorf("without the marks: %v", err)
	}
}
