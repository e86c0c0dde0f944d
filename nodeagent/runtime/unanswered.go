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
