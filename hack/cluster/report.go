package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Report prints what is being done, a line for each step when it is over. Steps may run side by side.
type Report struct {
	mu  sync.Mutex
	out io.Writer
	// every is how often a step that goes on says so.
	every time.Duration
}

// Step runs do and prints its name and duration; one that lasts says in between that it goes on.
func (r *Report) Step(name string, do func() error) error {
	start := time.Now()
	ended := make(chan struct{})
	var alive sync.WaitGroup
	alive.Go(func() {
		ticks := time.NewTicker(r.every)
		defer ticks.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticks.C:
				r.Say("  %s … still at it after %.0f s", name, time.Since(start).Seconds())
			}
		}
	})
	err := do()
	close(ended)
	alive.Wait()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.Say("  %-34s %5.1f s", name, time.Since(start).Seconds())
	return nil
}

// Say prints a line.
func (r *Report) Say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.out, format+"\n", args...)
}
