package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/perf/procs"
	"miniplane.dev/miniplane/test/perf/report"
)

func newBench(t *testing.T, rounds int) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), miniv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return &bench{options: options{rounds: rounds}, sides: []side{native{}, mini{}}, limits: limitsDefault, namespace: "perf",
		api:    fake.NewClientBuilder().WithScheme(scheme).Build(),
		result: report.Result{Sides: []string{report.Native, report.Mini}}}
}

// Every row of the table is measured by one measurement, and every figure of a measurement has a row.
func TestEveryMetricIsMeasuredOnce(t *testing.T) {
	givenBy := map[string]int{}
	for _, m := range measurements {
		if len(m.limits) == 0 {
			t.Errorf("%s is measured under no limits", m.name)
		}
		for _, key := range m.keys {
			givenBy[key]++
			if !slices.ContainsFunc(metrics, func(x report.Metric) bool { return x.Key == key }) {
				t.Errorf("%s gives %s, which has no row", m.name, key)
			}
		}
	}
	for _, m := range metrics {
		if givenBy[m.Key] != 1 {
			t.Errorf("%s is given by %d measurements", m.Key, givenBy[m.Key])
		}
	}
}

func TestChoose(t *testing.T) {
	names := func(only string) (out []string) {
		found, err := choose(only)
		if err != nil {
			return []string{err.Error()}
		}
		for _, m := range found {
			out = append(out, m.name)
		}
		return out
	}
	if got := names(""); len(got) != len(measurements) {
		t.Errorf("all: %v", got)
	}
	if diff := cmp.Diff([]string{"lives one at a time", "deletion"}, names("P8,P12")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := names("P1,P99"); !strings.Contains(got[0], `no figure "P99"`) {
		t.Errorf("%v", got)
	}
}

// Sides take turns in beginning; one that fails is measured no further, and the other goes on.
func TestMeasureAlternatesAndNotesFailures(t *testing.T) {
	b := newBench(t, 3)
	var calls []string
	m := measurement{name: "test", keys: []string{"start.latency"}, run: func(_ context.Context, _ *bench, s side, round int) (samples, error) {
		calls = append(calls, s.name())
		if s.name() == report.Native && round == 1 {
			return nil, errors.New("the kubelet is gone")
		}
		return samples{"start.latency": {1}}, nil
	}}
	b.measure(t.Context(), m, nil)
	if diff := cmp.Diff([]string{"native", "mini", "mini", "native", "mini"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	row := b.result.Rows(metrics)[0]
	if row.Ratio != 0 || row.Refused != "native failed in round 2: the kubelet is gone" {
		t.Errorf("%+v", row)
	}
	if n := row.Sides[report.Mini].N; n != 3 {
		t.Errorf("%d figures of the side that works, want 3", n)
	}
}

// A side that cannot start anything has failed everything; the other is measured.
func TestMeasureWithoutOneSide(t *testing.T) {
	b := newBench(t, 1)
	m := measurement{name: "test", keys: []string{"start.latency"}, run: func(_ context.Context, _ *bench, s side, _ int) (samples, error) {
		if s.name() == report.Mini {
			t.Error("measured although it cannot work")
		}
		return samples{"start.latency": {1}}, nil
	}}
	b.measure(t.Context(), m, map[string]error{report.Mini: errors.New("not installed")})
	row := b.result.Rows(metrics)[0]
	if row.Refused != "mini failed in round 1: not installed" || row.Sides[report.Native].N != 1 {
		t.Errorf("%+v", row)
	}
}

// What a measurement needs for all rounds is removed also when it could be made in part only.
func TestMeasureUndoes(t *testing.T) {
	b, undone := newBench(t, 1), 0
	m := measurement{name: "test", keys: []string{"hollow.rate"},
		prepare: func(context.Context, *bench) (func(), error) { return func() { undone++ }, errors.New("no nodes") },
		run: func(context.Context, *bench, side, int) (samples, error) {
			t.Error("measured without what it needs")
			return nil, nil
		}}
	b.measure(t.Context(), m, nil)
	if undone != 1 || len(b.result.Failures) != 2 {
		t.Errorf("undone %d times, failures %+v", undone, b.result.Failures)
	}
}

func TestComplete(t *testing.T) {
	wanted, err := choose("P7")
	if err != nil {
		t.Fatal(err)
	}
	r := &report.Result{Sides: []string{report.Native, report.Mini}}
	r.Add(report.Sample{Metric: "kill.latency", Side: report.Native, Limits: limitsDefault, Values: []float64{1}})
	if err := complete(r, wanted, always); err == nil || !strings.Contains(err.Error(), "kill.latency of mini under limits default") {
		t.Errorf("%v", err)
	}
	r.Add(report.Sample{Metric: "kill.latency", Side: report.Mini, Limits: limitsDefault, Values: []float64{1}})
	if err := complete(r, wanted, always); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
}

// Heartbeats are no life's writes; Events are counted apart.
func TestCountWrites(t *testing.T) {
	found := samples{}
	countWrites(found, map[string]float64{"pods": 10, "leases": 5, "events": 1},
		map[string]float64{"pods": 30, "leases": 500, "events": 11, "serviceaccounts": 4, "nodes": 9}, 4)
	want := samples{"life.writes": {6}, "life.writes/pods": {5}, "life.writes/serviceaccounts": {1}, "life.events": {2.5}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLimitFlags(t *testing.T) {
	table := procs.Table{{Program: procs.KCM, Args: []string{"kcm", "--kube-api-qps=7", "--v=1", "--kube-api-burst=8"}}, {Program: procs.Scheduler}}
	if got := limitFlags(table, procs.KCM, "20, 30"); got != "kube-controller-manager --kube-api-qps=7 --kube-api-burst=8" {
		t.Error(got)
	}
	if got := limitFlags(table, procs.Scheduler, "50, 100"); !strings.Contains(got, "(qps, burst: 50, 100)") {
		t.Error(got)
	}
}
