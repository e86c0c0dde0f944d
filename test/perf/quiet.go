package main

import (
	"context"
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
	return records.wait(ctx)
}

func (b *bench) idle(ctx context.Context) error {
	before, err := b.read()
	if err != nil {
		return err
	}
	for begin := before.at; ; {
		if err := settle(ctx); err != nil {
			return err
		}
		now, err := b.read()
		if err != nil {
			return err
		}
		cpu, seconds := now.since(before)
		share := cpu[machine] / seconds / float64(runtime.NumCPU())
		if share <= quietShare {
			return nil
		}
		if now.at.Sub(begin) > quietLimit {
			say("    the machine does not become idle: it is %.0f %% busy", 100*share)
			return nil
		}
		before = now
	}
}
