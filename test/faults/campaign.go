package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"miniplane.dev/miniplane/test/faults/report"
)

// undo takes a fault back. It is always called, also when the run is interrupted.
type undo func(ctx context.Context) error

// fault is one kind of harm.
type fault struct {
	key, title string
	// on are the kinds of clusters that it is done to.
	on []string
	// times it is done; short is how often in a short run.
	times, short int
	// hold is how long it lasts, and pause how long it is waited after it is undone; random of up to so long with jitter.
	hold, pause time.Duration
	jitter      bool
	// during runs beside it, and ends before anything is counted.
	during func(ctx context.Context, w *world) (end undo, err error)
	// do does it once; undo may be nil.
	do func(ctx context.Context, w *world) (undo, error)
	// bites looks, at the end of a fault, whether it did harm at all where it should.
	bites func(ctx context.Context, w *world) error
	// promise is the most that it may do.
	promise report.Promise
	// notRun says why nobody can.
	notRun string
}

// undoTime is how long taking a fault back may take.
const undoTime = 2 * time.Minute

// choose picks the faults that were asked for.
func choose(only string) ([]fault, error) {
	all := faults()
	var keys []string
	for key := range strings.SplitSeq(only, ",") {
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if !slices.ContainsFunc(all, func(f fault) bool { return f.key == key }) {
			return nil, fmt.Errorf("there is no fault %q; these are there:\n%s", key, listing(all))
		}
		keys = append(keys, key)
	}
	return slices.DeleteFunc(all, func(f fault) bool { return len(keys) > 0 && !slices.Contains(keys, f.key) }), nil
}

// possible are those that a kind of cluster can have.
func possible(all []fault, substrate string) []fault {
	return slices.DeleteFunc(slices.Clone(all), func(f fault) bool { return f.do == nil || !slices.Contains(f.on, substrate) })
}

// campaign does a fault as often as is asked for, and reports what came of it.
func (w *world) campaign(ctx context.Context, f fault) report.Row {
	begin := time.Now()
	times := f.times
	if w.short {
		times = f.short
	}
	row := report.Row{Fault: f.title, Where: w.substrate, Date: today(), Promise: f.promise}
	if err := w.inflict(ctx, f, times, &row); err != nil {
		row.Failed = shorten(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	say("%s: %d times in %s: %d restarted, %d lost, %d doubles, endpoints wrong %s, silent %s, %d leaks", f.key, row.Tried,
		time.Since(begin).Round(time.Second), row.Restarted, row.Lost, row.Doubles, row.Wrong, row.Silent, len(row.Leaks))
	return row
}

func (w *world) inflict(ctx context.Context, f fault, times int, row *report.Row) error {
	if err := w.calmAgain(ctx); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	before, err := w.inventory(ctx)
	if err != nil {
		return err
	}
	o, err := w.observe(ctx)
	if err != nil {
		return err
	}
	faulty := w.repeat(ctx, f, times, row)
	after := w.well(ctx)
	seen := o.end(ctx, row)
	if err := errors.Join(faulty, after, seen); err != nil {
		return err
	}
	row.Leaks, err = w.left(ctx, before)
	return err
}

// repeat does the fault again and again, with what runs beside it.
func (w *world) repeat(ctx context.Context, f fault, times int, row *report.Row) (err error) {
	if f.during != nil {
		end, cannot := f.during(ctx, w)
		if end != nil {
			defer func() { err = errors.Join(err, takeBack(ctx, end)) }()
		}
		if cannot != nil {
			return cannot
		}
	}
	for range times {
		if err := f.once(ctx, w); err != nil {
			return fmt.Errorf("after %d times: %w", row.Tried, err)
		}
		row.Tried++
	}
	return nil
}

func (f fault) once(ctx context.Context, w *world) error {
	back, err := f.do(ctx, w)
	if err == nil {
		err = rest(ctx, f.hold, f.jitter)
	}
	if err == nil && f.bites != nil {
		err = f.bites(ctx, w)
	}
	if back != nil {
		err = errors.Join(err, takeBack(ctx, back))
	}
	if err != nil {
		return err
	}
	return rest(ctx, f.pause, f.jitter)
}

// takeBack runs what must run, whatever happened to ctx.
func takeBack(ctx context.Context, back undo) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return back(ctx)
}

// rest lets a fault last: this is the fault, and not a wait for anything.
func rest(ctx context.Context, d time.Duration, jitter bool) error {
	if jitter && d > 0 {
		d = rand.N(d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// well waits until everything works: what runs all the time does, what came and went is gone, and a new MiniPod starts and ends.
func (w *world) well(ctx context.Context) error {
	if err := w.calmAgain(ctx); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	return w.probe(ctx)
}
