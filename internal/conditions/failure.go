package conditions

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Failure is what a controller could not do, as its status tells it. The zero value means that nothing went wrong.
type Failure struct {
	// Reason is for the conditions; Message is the API server's.
	Reason, Message string
	// Final says that trying again cannot help; the user must change something.
	Final bool
}

// FailureOf tells of an error, in the API server's own words where it is one of its answers.
func FailureOf(reason string, err error) Failure {
	message := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		message = status.Status().Message
	}
	return Failure{Reason: reason, Message: message, Final: apierrors.IsInvalid(err)}
}
