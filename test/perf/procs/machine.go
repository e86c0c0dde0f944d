package procs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Busy is how many CPU seconds the whole machine has worked since its boot, interrupts and kernel threads included.
func (r Reader) Busy() (float64, error) {
	data, err := os.ReadFile(filepath.Join(r.Root, "stat"))
	if err != nil {
		return 0, err
	}
	return parseBusy(string(data))
}

// parseBusy sums what is neither idle nor waiting for the disk. Time of guests is counted in that of users already, and
// stolen time was not ours.
func parseBusy(stat string) (float64, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	const user, idle, iowait, softirq = 1, 4, 5, 7
	if len(fields) <= softirq || fields[0] != "cpu" {
		return 0, fmt.Errorf("not the first line of /proc/stat: %q", line)
	}
	ticks := uint64(0)
	for i := user; i <= softirq; i++ {
		if i == idle || i == iowait {
			continue
		}
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("line of /proc/stat %q: %w", line, err)
		}
		ticks += n
	}
	return float64(ticks) / UserHZ, nil
}

// Ends lets one wait for the end of processes. It must be made while they live; their numbers cannot be confused after.
type Ends struct{ files []*os.File }

// Watch holds on to the processes of a table. What has ended already is not waited for.
func Watch(t Table) (*Ends, error) {
	ends := &Ends{}
	for _, p := range t {
		fd, err := unix.PidfdOpen(p.PID, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			ends.Close()
			return nil, fmt.Errorf("pidfd of process %d: %w", p.PID, err)
		}
		ends.files = append(ends.files, os.NewFile(uintptr(fd), strconv.Itoa(p.PID)))
	}
	return ends, nil
}

// Wait returns when all have ended; an error says how many have not when ctx ends.
func (e *Ends) Wait(ctx context.Context) error {
	const slice = 100 // milliseconds until ctx is looked at
	for i, file := range e.files {
		poll := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLIN}}
		for poll[0].Revents&unix.POLLIN == 0 {
			if ctx.Err() != nil {
				return fmt.Errorf("%d of %d processes still run: %w", len(e.files)-i, len(e.files), ctx.Err())
			}
			if _, err := unix.Poll(poll, slice); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
	return nil
}

// Close lets go of the processes.
func (e *Ends) Close() {
	for _, file := range e.files {
		_ = file.Close()
	}
}
