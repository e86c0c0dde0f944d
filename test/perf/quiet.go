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
)

// quiet waits until the machine is idle, so that no side's round pays for what another left to be cleaned up: a kubelet removes
// containers' records long after their Pods are gone.
func quiet(ctx context.Context, b *bench) error {
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
