// Package report turns figures of two sides, native Pods and MiniPods, into a table with ratios. It is pure.
//
// The idea: a measurement gives samples, or a failure, for one side in one round. A row compares the samples of both sides
// that were taken under the same limits of Kubernetes' own parts, in the same run. A ratio of a side that failed, even in one
// round, would be a ratio of its better rounds; it is refused, and the row says why.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The two sides.
const (
	Native = "native"
	Mini   = "mini"
)

// Better says which of two values is better.
type Better int

// Lower is for what should be small, such as a latency; Higher for what should be large, such as a rate.
const (
	Lower Better = iota
	Higher
)

// Metric is one thing that is measured.
type Metric struct {
	// Key of its samples, as in "start.latency". ID is its number among the project's targets, as in "P1".
	Key, ID string
	Title   string
	Unit    string
	Better  Better
	Target  Target
	// Alone: the two sides' values are not for dividing, such as counts of restarts.
	Alone bool
}

// Target is what MiniPods should reach. The zero value asks for nothing.
type Target struct {
	// Times is how many times better than native the median should be.
	Times float64
	// Bound is what the worst of 99 in 100 values may be at most, or at least where more is better.
	Bound *float64
}

// Bound makes a target out of a value.
func Bound(value float64) Target { return Target{Bound: &value} }

// Times makes a target out of a ratio.
func Times(ratio float64) Target { return Target{Times: ratio} }

// Sample is what one side showed in one round.
type Sample struct {
	Metric string    `json:"metric"`
	Side   string    `json:"side"`
	Limits string    `json:"limits"`
	Round  int       `json:"round"`
	Values []float64 `json:"values"`
}

// Failure is why a side has no sample of some metrics in a round.
type Failure struct {
	Metrics []string `json:"metrics"`
	Side    string   `json:"side"`
	Limits  string   `json:"limits"`
	Round   int      `json:"round"`
	Reason  string   `json:"reason"`
}

// Result is everything that one run found out.
type Result struct {
	Taken   time.Time         `json:"taken"`
	Machine map[string]string `json:"machine"`
	// Settings tells, for each kind of limits, what Kubernetes' own parts ran with.
	Settings map[string][]string `json:"settings,omitempty"`
	Sides    []string            `json:"sides"`
	Rounds   int                 `json:"rounds"`
	Samples  []Sample            `json:"samples"`
	Failures []Failure           `json:"failures,omitempty"`
}

// Add adds a sample.
func (r *Result) Add(s Sample) { r.Samples = append(r.Samples, s) }

// Summary is the samples of one side in short.
type Summary struct {
	P50, P99 float64
	N        int
}

// Row compares the sides in one metric under one kind of limits.
type Row struct {
	Metric Metric
	Limits string
	// Sides that have samples.
	Sides map[string]Summary
	// Ratio is how many times better MiniPods are, by the medians and by the 99th percentiles; zero if there is none.
	Ratio, Ratio99 float64
	// Refused says why there is none although there should be.
	Refused string
}

// Rows are the metrics in their order, each with the limits that it was measured under in the order of the samples.
// Metrics that nobody measured have no row; metrics that a side failed to measure have one.
func (r *Result) Rows(metrics []Metric) []Row {
	var rows []Row
	for _, m := range metrics {
		for _, limits := range r.limitsOf(m.Key) {
			rows = append(rows, r.row(m, limits))
		}
	}
	return rows
}

func (r *Result) limitsOf(key string) []string {
	var found []string
	note := func(limits string) {
		if !slices.Contains(found, limits) {
			found = append(found, limits)
		}
	}
	for _, s := range r.Samples {
		if s.Metric == key {
			note(s.Limits)
		}
	}
	for _, f := range r.Failures {
		if slices.Contains(f.Metrics, key) {
			note(f.Limits)
		}
	}
	return found
}

func (r *Result) row(m Metric, limits string) Row {
	row := Row{Metric: m, Limits: limits, Sides: map[string]Summary{}}
	for _, side := range r.Sides {
		values := r.Values(m.Key, side, limits)
		if len(values) > 0 {
			row.Sides[side] = summarize(values, m.Better)
		}
		if row.Refused != "" {
			continue
		}
		if failure, failed := r.failure(m.Key, side, limits); failed {
			row.Refused = fmt.Sprintf("%s failed in round %d: %s", side, failure.Round+1, failure.Reason)
		} else if len(values) == 0 {
			row.Refused = side + " has no figures"
		}
	}
	native, mini := row.Sides[Native], row.Sides[Mini]
	if row.Refused == "" && !m.Alone && len(r.Sides) == 2 {
		row.Ratio = times(native.P50, mini.P50, m.Better)
		row.Ratio99 = times(native.P99, mini.P99, m.Better)
	}
	return row
}

// Values are all values of a side, in the order of the rounds.
func (r *Result) Values(key, side, limits string) []float64 {
	var out []float64
	for _, s := range r.Samples {
		if s.Metric == key && s.Side == side && s.Limits == limits {
			out = append(out, s.Values...)
		}
	}
	return out
}

func (r *Result) failure(key, side, limits string) (Failure, bool) {
	for _, f := range r.Failures {
		if f.Side == side && f.Limits == limits && slices.Contains(f.Metrics, key) {
			return f, true
		}
	}
	return Failure{}, false
}

// times is how many times better mini is; zero where it cannot be said.
func times(native, mini float64, better Better) float64 {
	if better == Higher {
		native, mini = mini, native
	}
	if native <= 0 || mini <= 0 {
		return 0
	}
	return native / mini
}

// Verdict tells whether a row reaches its target: "yes", "no", "?" where it was not shown, "" where nothing is asked.
func (row Row) Verdict() string {
	target := row.Metric.Target
	mini, measured := row.Sides[Mini]
	var reached bool
	switch {
	case target == Target{}:
		return ""
	case row.Refused != "" || !measured || (target.Times > 0 && row.Ratio == 0):
		return "?"
	case target.Times > 0:
		reached = row.Ratio >= target.Times
	case row.Metric.Better == Higher:
		reached = mini.P99 >= *target.Bound
	default:
		reached = mini.P99 <= *target.Bound
	}
	if reached {
		return "yes"
	}
	return "no"
}

func summarize(values []float64, better Better) Summary {
	worst := 99
	if better == Higher {
		worst = 1
	}
	return Summary{P50: Percentile(values, 50), P99: Percentile(values, worst), N: len(values)}
}

// Percentile is the smallest value that p percent of the values do not exceed (nearest rank); zero for none.
func Percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	rank := (p*len(sorted) + 99) / 100
	return sorted[max(rank, 1)-1]
}
