package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"miniplane.dev/miniplane/test/perf/report"
)

// samples are the values that one side gave in one round, by the key of their metric. Keys that are no metric's are kept
// with the raw figures.
type samples map[string][]float64

// measurement gives samples of some metrics.
type measurement struct {
	name string
	keys []string
	// limits of Kubernetes' own parts that it is made under: those that matter for it.
	limits []string
	// once: it has its rounds inside, because what it needs takes long to set up.
	once bool
	// prepare makes what all rounds need, and returns what removes it. Optional.
	prepare func(context.Context, *bench) (undo func(), err error)
	// before is what each turn of a side waits for. Optional.
	before func(context.Context, *bench) error
	run    func(ctx context.Context, b *bench, s side, round int) (samples, error)
}

const (
	limitsDefault = "default"
	limitsRaised  = "raised"
)

var (
	always      = []string{limitsDefault, limitsRaised}
	onlyDefault = []string{limitsDefault}
	onlyRaised  = []string{limitsRaised}
)

var measurements = []measurement{
	{name: "rest", keys: []string{"rest.memory"}, limits: onlyDefault, before: quiet, run: atRest},
	{name: "lives one at a time", keys: []string{"start.latency", "life.writes", "life.events"}, limits: always, before: quiet, run: lives},
	{name: "applications one at a time", keys: []string{"application.latency"}, limits: onlyDefault, prepare: applicationObjects, before: quiet, run: applications},
	{name: "burst", keys: []string{"burst.rate", "burst.latency", "burst.cpu", "burst.cpu.machine", "burst.memory"},
		limits: always, before: quiet, run: burst},
	{name: "deletion", keys: []string{"delete.process", "delete.record"}, limits: onlyDefault, before: quiet, run: deletion},
	{name: "killed containers", keys: []string{"kill.latency"}, limits: onlyDefault, before: quiet, run: kills},
	{name: "probes", keys: []string{"probe.http.cpu", "probe.exec.cpu"}, limits: onlyDefault, before: quiet, run: probes},
	{name: "hollow nodes", keys: []string{"hollow.rate", "hollow.scale", "hollow.scale.bound"}, limits: onlyRaised,
		prepare: hollowNodes, run: hollow},
	{name: "full node", keys: []string{"fill.pods", "crash.latency", "crash.own", "crash.restarts"}, limits: onlyDefault,
		once: true, run: fullNode},
}

func (m measurement) gives(key string) bool { return slices.Contains(m.keys, key) }

func (m measurement) rounds(b *bench) int {
	if m.once {
		return 1
	}
	return b.rounds
}

// turn makes one round of one side.
func (m measurement) turn(ctx context.Context, b *bench, s side, round int) (samples, error) {
	if m.before != nil {
		if err := m.before(ctx, b); err != nil {
			return nil, err
		}
	}
	return m.run(ctx, b, s, round)
}

func (m measurement) under(limits string) bool { return slices.Contains(m.limits, limits) }

// phase makes all wanted measurements under one kind of limits. Where it cannot begin, all of them have failed.
func (b *bench) phase(ctx context.Context, limits string, wanted []measurement) {
	wanted = slices.DeleteFunc(slices.Clone(wanted), func(m measurement) bool { return !m.under(limits) })
	if len(wanted) == 0 {
		return
	}
	unfit := map[string]error{}
	limitsErr := b.setLimits(ctx, limits)
	for _, s := range b.sides {
		err := limitsErr
		if err == nil {
			err = b.warmUp(ctx, s)
		}
		if err != nil {
			unfit[s.name()] = fmt.Errorf("the first Pod does not run; is the cluster whole, and miniplane installed? %w", err)
		}
	}
	for _, m := range wanted {
		if ctx.Err() != nil {
			return
		}
		b.measure(ctx, m, unfit)
	}
}

// measure makes all rounds of one measurement. A side that fails, or is unfit from the start, is noted, and measured no
// further.
func (b *bench) measure(ctx context.Context, m measurement, unfit map[string]error) {
	say("%s, limits %s", m.name, b.limits)
	failed := map[string]bool{}
	for _, s := range b.sides {
		if err := unfit[s.name()]; err != nil {
			failed[s.name()] = true
			b.fail(m, s, 0, err)
		}
	}
	if len(failed) == len(b.sides) {
		return
	}
	if m.prepare != nil {
		undo, err := m.prepare(ctx, b)
		if undo != nil {
			defer undo()
		}
		if err != nil {
			for _, s := range b.sides {
				b.fail(m, s, 0, err)
			}
			return
		}
	}
	for round := range m.rounds(b) {
		for _, s := range b.order(round) {
			if failed[s.name()] || ctx.Err() != nil {
				continue
			}
			begin := time.Now()
			found, err := m.turn(ctx, b, s, round)
			if err != nil {
				failed[s.name()] = true
				b.fail(m, s, round, err)
				b.recover(s)
				continue
			}
			for _, key := range report.SortedKeys(found) {
				b.result.Add(report.Sample{Metric: key, Side: s.name(), Limits: b.limits, Round: round, Values: found[key]})
			}
			say("  round %d, %-6s %5.1f s: %s", round+1, s.name(), time.Since(begin).Seconds(), brief(m, found))
		}
	}
}

// order is the sides, in turns.
func (b *bench) order(round int) []side {
	sides := slices.Clone(b.sides)
	if round%2 == 1 {
		slices.Reverse(sides)
	}
	return sides
}

func (b *bench) fail(m measurement, s side, round int, err error) {
	say("  round %d, %s FAILED: %v", round+1, s.name(), err)
	b.result.Failures = append(b.result.Failures,
		report.Failure{Metrics: m.keys, Side: s.name(), Limits: b.limits, Round: round, Reason: err.Error()})
}

// brief tells the medians of a round.
func brief(m measurement, found samples) string {
	var parts []string
	for _, key := range m.keys {
		if values, ok := found[key]; ok {
			parts = append(parts, fmt.Sprintf("%s %.4g", key, report.Percentile(values, 50)))
		}
	}
	return strings.Join(parts, ", ")
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "perf: "+format+"\n", args...) }
