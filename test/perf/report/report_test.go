package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tc := range []struct {
		values []float64
		p      int
		want   float64
	}{
		{nil, 50, 0},
		{[]float64{7}, 1, 7},
		{[]float64{7}, 99, 7},
		{[]float64{3, 1, 2}, 50, 2},
		{[]float64{4, 3, 2, 1}, 50, 2},
		{[]float64{5, 4, 3, 2, 1}, 99, 5},
		{[]float64{5, 4, 3, 2, 1}, 1, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 1, 1},
	} {
		if got := Percentile(tc.values, tc.p); got != tc.want {
			t.Errorf("percentile %d of %v: %v, want %v", tc.p, tc.values, got, tc.want)
		}
	}
}

var (
	latency = Metric{Key: "latency", ID: "P1", Title: "create → Running", Unit: "ms", Target: Times(5)}
	rate    = Metric{Key: "rate", ID: "P2", Title: "burst", Unit: "pods/s", Better: Higher, Target: Times(5)}
	writes  = Metric{Key: "writes", ID: "P12", Title: "writes", Unit: "writes", Target: Bound(5)}
	pods    = Metric{Key: "pods", ID: "P5", Title: "pods", Unit: "pods", Better: Higher, Target: Bound(500)}
	again   = Metric{Key: "restarts", ID: "P17", Title: "restarts", Unit: "restarts", Alone: true, Target: Bound(0)}
	metrics = []Metric{latency, rate, writes, pods, again}
)

func sample(key, side, limits string, round int, values ...float64) Sample {
	return Sample{Metric: key, Side: side, Limits: limits, Round: round, Values: values}
}

func result(samples ...Sample) *Result {
	return &Result{Taken: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Sides: []string{Native, Mini}, Rounds: 2,
		Machine: map[string]string{"cores": "2"}, Settings: map[string][]string{"default": {"kubelet kubeAPIQPS 50"}}, Samples: samples}
}

func TestMarkdown(t *testing.T) {
	r := result(
		sample("latency", Native, "default", 0, 600, 500), sample("latency", Mini, "default", 0, 100, 110),
		sample("latency", Native, "default", 1, 700), sample("latency", Mini, "default", 1, 90),
		sample("rate", Native, "default", 0, 4), sample("rate", Mini, "default", 0, 18.5),
		sample("rate", Native, "raised", 0, 5), sample("rate", Mini, "raised", 0, 20),
		sample("writes", Native, "default", 0, 8.04), sample("writes", Mini, "default", 0, 5),
		sample("pods", Native, "default", 0, 110), sample("pods", Mini, "default", 0, 500),
		sample("restarts", Native, "default", 0, 0, 0), sample("restarts", Mini, "default", 0, 0, 0),
		sample("cpu/kubelet", Native, "default", 0, 1), // raw figures without a row
	)
	want := `2026-01-02 03:04 UTC, 2 rounds. cores: 2. 

Limits "default": kubelet kubeAPIQPS 50.

| # | metric | unit | limits | native p50 (p99) | mini p50 (p99) | n | ratio p50 (p99) | target | met |
|---|---|---|---|---|---|---|---|---|---|
| P1 | create → Running | ms | default | 600 (700) | 100 (110) | 3 | 6× (6.36×) | ≥ 5× | yes |
| P2 | burst | pods/s | default | 4 | 18.5 | 1 | 4.62× | ≥ 5× | no |
| P2 | burst | pods/s | raised | 5 | 20 | 1 | 4× | ≥ 5× | no |
| P12 | writes | writes | default | 8.04 | 5 | 1 | 1.61× | ≤ 5 | yes |
| P5 | pods | pods | default | 110 | 500 | 1 | 4.55× | ≥ 500 | yes |
| P17 | restarts | restarts | default | 0 (0) | 0 (0) | 2 | – | ≤ 0 | yes |
`
	if diff := cmp.Diff(want, r.Markdown(metrics)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A side that failed in one of many rounds has no ratio, whatever its other rounds gave.
func TestRefusal(t *testing.T) {
	good := []Sample{sample("latency", Native, "default", 0, 600), sample("latency", Mini, "default", 0, 100)}
	failure := func(side, limits string, round int, reason string) Failure {
		return Failure{Metrics: []string{"other", "latency"}, Side: side, Limits: limits, Round: round, Reason: reason}
	}
	for name, tc := range map[string]struct {
		samples  []Sample
		failures []Failure
		want     string
	}{
		"both sides worked": {samples: good},
		"native failed":     {good, []Failure{failure(Native, "default", 1, "no node")}, "native failed in round 2: no node"},
		"mini failed":       {good, []Failure{failure(Mini, "default", 0, "no image")}, "mini failed in round 1: no image"},
		"both failed": {nil, []Failure{failure(Mini, "default", 0, "b"), failure(Native, "default", 0, "a")},
			"native failed in round 1: a"},
		"native silent": {samples: good[1:], want: "native has no figures"},
		"mini silent":   {samples: good[:1], want: "mini has no figures"},
	} {
		t.Run(name, func(t *testing.T) {
			r := result(tc.samples...)
			r.Failures = tc.failures
			rows := r.Rows([]Metric{latency})
			if len(rows) != 1 {
				t.Fatalf("%d rows, want 1", len(rows))
			}
			row := rows[0]
			if row.Refused != tc.want || (row.Ratio != 0) != (tc.want == "") {
				t.Errorf("refused %q with ratio %v, want %q", row.Refused, row.Ratio, tc.want)
			}
			if got := row.Verdict(); (got == "?") != (tc.want != "") {
				t.Errorf("verdict %q", got)
			}
			// The one × that a refused row has is its target's.
			table := Table(rows)
			if refused := tc.want != ""; strings.Contains(table, "refused: "+tc.want) != refused || (strings.Count(table, "×") == 1) != refused {
				t.Errorf("table:\n%s", table)
			}
		})
	}
}

// Limits that were not measured on both sides do not borrow the other's figures; nobody's failure elsewhere counts.
func TestLimitsAreApart(t *testing.T) {
	r := result(sample("latency", Native, "default", 0, 600), sample("latency", Mini, "default", 0, 100),
		sample("latency", Mini, "raised", 0, 100))
	r.Failures = []Failure{{Metrics: []string{"latency"}, Side: Native, Limits: "raised", Reason: "kubelet gone"}}
	rows := r.Rows(metrics)
	if len(rows) != 2 || rows[0].Ratio != 6 || rows[1].Ratio != 0 || rows[1].Refused == "" {
		t.Errorf("%+v", rows)
	}
}

// One side alone, as on a cluster without a kubelet, is no failure and has no ratio.
func TestOneSide(t *testing.T) {
	r := result(sample("latency", Mini, "default", 0, 100), sample("writes", Mini, "default", 0, 6))
	r.Sides = []string{Mini}
	rows := r.Rows(metrics)
	if rows[0].Refused != "" || rows[0].Ratio != 0 || rows[0].Verdict() != "?" {
		t.Errorf("%+v", rows[0])
	}
	if rows[1].Verdict() != "no" {
		t.Errorf("6 writes where 5 are allowed: %q", rows[1].Verdict())
	}
}

func TestWorstOfARateIsTheLowest(t *testing.T) {
	if got := summarize([]float64{4, 3, 5}, Higher); got.P50 != 4 || got.P99 != 3 {
		t.Errorf("%+v, want 4 and 3", got)
	}
}
