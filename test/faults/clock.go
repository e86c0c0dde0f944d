package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockJump is by how much the clock is set.
const clockJump = 10 * time.Minute

// ownMachine is what hack/vm starts the kernel of a machine with: the clock of such a machine belongs to nobody else.
const ownMachine = "miniplane.vm=1"

// setClocks makes a fault of a clock that is set forward, and the next time back, in turn.
func setClocks() func(context.Context, *world) (undo, error) {
	by := -clockJump
	return func(context.Context, *world) (undo, error) {
		by = -by
		if err := ownClock(); err != nil {
			return nil, err
		}
		return func(context.Context) error { return setClock(-by) }, setClock(by)
	}
}

func ownClock() error {
	line, err := os.ReadFile("/proc/cmdline")
	if err == nil && !slices.Contains(strings.Fields(string(line)), ownMachine) {
		err = errors.New("the clock belongs to all that runs on a machine: it is set only in one that hack/vm has started")
	}
	return err
}

// setClock sets the machine's clock forward or back, and makes sure that it went.
func setClock(by time.Duration) error {
	before := time.Now()
	to, err := unix.TimeToTimespec(before.Add(by))
	if err == nil {
		err = unix.ClockSettime(unix.CLOCK_REALTIME, &to)
	}
	if err != nil {
		return fmt.Errorf("setting the clock by %s: %w", by, err)
	}
	after := time.Now()
	if moved := after.Round(0).Sub(before.Round(0)) - after.Sub(before); (moved - by).Abs() > clockJump/10 {
		return fmt.Errorf("the clock was set by %s, and moved by %s", by, moved)
	}
	return nil
}
