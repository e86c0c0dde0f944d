package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/test/perf/report"
)

// What is written can be read back, and a run without a ratio draws none.
func TestSave(t *testing.T) {
	r := &report.Result{Rounds: 1, Sides: []string{report.Native, report.Mini}}
	for side, value := range map[string]float64{report.Native: 600, report.Mini: 100} {
		r.Add(report.Sample{Metric: "start.latency", Side: side, Limits: limitsDefault, Values: []float64{value}})
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := save(dir, r, metrics); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"latest.json", "latest.md", "ratios.svg", "start.svg"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(filepath.Join(dir, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again report.Result
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if rows := again.Rows(metrics); len(rows) != 1 || rows[0].Ratio != 6 {
		t.Errorf("read back: %+v", rows)
	}

	r.Failures = append(r.Failures, report.Failure{Metrics: []string{"start.latency"}, Side: report.Native, Limits: limitsDefault, Reason: "gone"})
	if got := bars(r.Rows(metrics)); len(got) != 0 {
		t.Errorf("bars of a refused ratio: %+v", got)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
