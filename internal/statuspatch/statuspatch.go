// Package statuspatch writes the status of an object: only what changed, and nothing when nothing did.
package statuspatch

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Patch sends the difference between before and after, two versions of one object, as a merge patch of the status
// subresource, without a resourceVersion. It reports whether a request was needed. After gets the server's answer.
func Patch(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	patch := client.MergeFrom(before)
	data, err := patch.Data(after)
	if err != nil {
		return false, err
	}
	if string(data) == "{}" {
		return false, nil
	}
	return true, c.Status().Patch(ctx, after, client.RawPatch(patch.Type(), data))
}
