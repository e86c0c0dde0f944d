package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

const (
	// quietShare is how busy a machine is at most, of all its cores, that is taken for idle.
	quietShare = 0.08
	// quietLimit is how long it is waited for.
	quietLimit = 90 * time.Second
	// cleanupLimit is how long a side has to remove its containers; a kubelet looks once a minute.
	cleanupLimit = 5 * time.Minute
)

// quiet waits until nothing is left of what was measured before, and the machine is idle, so that no side's round pays for what
// another left to be cleaned up: a kubelet removes containers' records long after their Pods are gone.
func quiet(ctx context.Context, b *bench) error {
	for _, s := range b.sides {
		if err := b.cleanedUp(ctx, s); err != nil {
			return err
		}
	}
	return b.idle(ctx)
}

// cleanedUp waits until a side's containers are gone from containerd.
func (b *bench) cleanedUp(ctx context.Context, s side) error {
	records, err := b.followRecords(ctx, s)
	if err != nil {
		return err
	}
	defer records.close()
	ctx, cancel := context.WithTimeout(ctx, cleanupLimit)
	defer cancel()
	if err := records.wait(ctx); err != nil {
		return fmt.Errorf("the %s Pods of earlier rounds: %w", s.name(), err)
	}
	return nil
}

// idle waits until nothing happens on the machine, or says that something always does.
func (b *bench) idle(ctx context.Context) error {
	for begin := time.Now(); ; {
		share, err := b.busyShare(ctx)
		if err != nil || share <= quietShare {
			return err
		}
		if time.Since(begin) > quietLimit {
			say("    the machine does not become idle: it is %.0f %% busy", 100*share)
			return nil
		}
	}
}

// busyShare is how busy the machine is for a moment, of all its cores.
func (b *bench) busyShare(ctx context.Context) (float64, error) {
	before, err := b.read()
	if err != nil {
		return 0, err
	}
	if err := settle(ctx); err != nil {
		return 0, err
	}
	after, err := b.read()
	if err != nil {
		return 0, err
	}
	cpu, seconds := after.since(before)
	return cpu[machine] / seconds / float64(runtime.NumCPU()), nil
}
