package runtime

import (
	"fmt"

	"github.com/moby/sys/signal"
)

// Signal is a signal's number, as in signal(7).
type Signal int

// The signals of a graceful end.
const (
	// StopSignal asks a container to end in its own way: by the signal of its spec, or that of its image, or SIGTERM.
	StopSignal Signal = -1

	SIGKILL Signal = 9
	SIGTERM Signal = 15
)

// maxSignal is the last one that Linux has.
const maxSignal = 64

// ParseSignal reads a signal as images and people write it: SIGUSR1, USR1, SIGRTMIN+3 or a number.
func ParseSignal(text string) (Signal, error) {
	number, err := signal.ParseSignal(text)
	if err != nil || number < 1 || number > maxSignal {
		return 0, fmt.Errorf("there is no signal %q", text)
	}
	return Signal(number), nil
}
