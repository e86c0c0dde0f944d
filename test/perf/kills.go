package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"miniplane.dev/miniplane/test/perf/procs"
)

func notRunning(program string) error {
	return fmt.Errorf("no process of %s is found on this machine: is it another cluster, or not whole?", program)
}

// kills ends containers' processes as a crash would, each one's first, and waits until the API shows them running again
// (P7). Each container is killed once: the second time either side would wait on purpose.
func kills(ctx context.Context, b *bench, s side, round int) (samples, error) {
	t, err := b.track(ctx, s)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	names := podNames(b.kills, "kill-%d", round)
	if _, err := b.start(ctx, s, names, len(names), 1); err != nil {
		return nil, err
	}
	if err := t.until(ctx, 2*time.Minute, "start", func() bool { return t.counts.running == len(names) }); err != nil {
		return nil, err
	}
	if err := settle(ctx); err != nil {
		return nil, err
	}
	found := samples{}
	for _, name := range names {
		processes, err := b.workload([]string{name})
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := syscall.Kill(processes[0].PID, syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("killing the container of %s: %w", name, err)
		}
		if err := t.until(ctx, time.Minute, "restart of "+name, func() bool { return !t.pods[name].restarted.IsZero() }); err != nil {
			return nil, err
		}
		found["kill.latency"] = append(found["kill.latency"], milliseconds(t.at(name).restarted.Sub(begin)))
	}
	return found, b.clear(ctx, s, t)
}

// workload finds the processes of these Pods' containers, one each, by the command that each was given for itself.
func (b *bench) workload(names []string) (procs.Table, error) {
	table, err := b.procs.Read()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, name := range names {
		serial, ok := b.serials.Load(name)
		if !ok {
			return nil, fmt.Errorf("%s was never started", name)
		}
		wanted[strconv.FormatInt(serial.(int64), 10)] = true
	}
	var found procs.Table
	for _, p := range table.Of(procs.Workload) {
		if len(p.Args) == 3 && wanted[p.Args[2]] {
			found = append(found, p)
		}
	}
	if len(found) != len(names) {
		return nil, fmt.Errorf("%d processes of %d containers found on this machine", len(found), len(names))
	}
	return found, nil
}

// deletion deletes a burst of Pods with a grace period of 0, and waits until the last process of their containers and the
// last record of them in containerd are gone (P8). The API is not asked: a native Pod without grace is gone there at once.
func deletion(ctx context.Context, b *bench, s side, round int) (samples, error) {
	t, err := b.track(ctx, s)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	names := podNames(b.burst, "gone-%d", round)
	if _, err := b.start(ctx, s, names, len(names), 0); err != nil {
		return nil, err
	}
	if err := t.until(ctx, 5*time.Minute, "start", func() bool { return t.counts.running == len(names) }); err != nil {
		return nil, err
	}
	if err := settle(ctx); err != nil {
		return nil, err
	}
	processes, err := b.workload(names)
	if err != nil {
		return nil, err
	}
	ends, err := procs.Watch(processes)
	if err != nil {
		return nil, err
	}
	defer ends.Close()
	records, err := b.followRecords(ctx, s)
	if err != nil {
		return nil, err
	}
	defer records.close()
	if len(records.there) == 0 {
		return nil, fmt.Errorf("containerd of %s has no containers of the namespace %s", b.node, b.namespace)
	}
	return b.timeDeletion(ctx, s, t, ends, records)
}

func (b *bench) timeDeletion(ctx context.Context, s side, t *tracker, ends *procs.Ends, records *records) (samples, error) {
	limited, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	begin := time.Now()
	process, record := make(chan error, 1), make(chan error, 1)
	var lastProcess, lastRecord time.Time
	go func() {
		err := ends.Wait(limited)
		lastProcess = time.Now()
		process <- err
	}()
	go func() {
		err := records.wait(limited)
		lastRecord = time.Now()
		record <- err
	}()
	cleared := b.clear(limited, s, t)
	if err := errors.Join(cleared, <-process, <-record); err != nil {
		return nil, err
	}
	return samples{"delete.process": {lastProcess.Sub(begin).Seconds()}, "delete.record": {lastRecord.Sub(begin).Seconds()}}, nil
}
