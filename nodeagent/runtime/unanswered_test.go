package runtime

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// What did not answer has said nothing; what answered has, whatever it said.
func TestIsUnanswered(t *testing.T) {
	for err, want := range map[error]bool{
		errdefs.ErrUnavailable: true, context.DeadlineExceeded: true, context.Canceled: true,
		errdefs.ErrNotFound: false, errdefs.ErrAlreadyExists: false, errdefs.ErrInvalidArgument: false, errdefs.ErrPermissionDenied: false,
		errdefs.ErrInternal: false, errors.New("no space left on device"): false,
	} {
		if got := IsUnanswered(fmt.Errorf("task: %w", err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	if IsUnanswered(nil) {
		t.Error("no error is an answer")
	}
}
