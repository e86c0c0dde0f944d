package runtime

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
)

// IsUnanswered tells whether an error says only that somebody did not answer: the runtime, or one of its parts. Nothing follows from it
// about what was asked for, which may have been done, may be done later, or never. Whoever gets it asks again.
func IsUnanswered(err error) bool {
	return errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || errdefs.IsCanceled(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// ErrNoRoom is wrapped by Start's errors where there is no room for one process more: the machine, or all containers together, have as many as they may.
// It says nothing of the container, which is to be removed and tried again later.
var ErrNoRoom = errors.New("no room for a process")
