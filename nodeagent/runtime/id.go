package runtime

import (
	"fmt"
	"regexp"

	"github.com/containerd/errdefs"
)

var validID = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,74}[A-Za-z0-9])?$`)

// ValidateID tells whether a container ID is one that every runtime takes. InvalidArgument if not.
func ValidateID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("container ID %q: need 1 to 76 of [A-Za-z0-9_.-], beginning and ending in a letter or digit: %w",
			id, errdefs.ErrInvalidArgument)
	}
	return nil
}
