// Package statuspatch writes the status of an object: only what changed, and nothing when nothing did.
//
// A merge patch replaces lists as a whole. Most kinds have one controller that writes all of their status; what it says holds for
// whatever version is stored. Into the conditions of MiniPods and MiniNodes several write, each its own: the agent and the
// controllers of evictions and of nodes, and whoever else has something to say. So there a patch that touches that list holds for
// the version only that it was made from: it neither drops what somebody else wrote meanwhile nor revives what somebody took
// away. All else is sent without a version, because it has one writer.
package statuspatch

import (
	"context"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Patch sends the difference between before and after, two versions of one object whose status has one writer, as a merge patch of
// the status subresource, without a resourceVersion. It reports whether a request was needed. After gets the server's answer.
func Patch(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	return send(ctx, c, before, after, func(data []byte) ([]byte, error) { return data, nil })
}

// PatchShared is Patch for an object into whose conditions several write. Where conditions changed and before is not the version that is
// stored, nothing is written, and the error is a Conflict: look again.
func PatchShared(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	return send(ctx, c, before, after, func(data []byte) ([]byte, error) { return forVersion(data, before.GetResourceVersion()) })
}

// PatchSeen is Patch for the very version that before is: where another is stored, nothing is written, and the error is a Conflict. It is for
// a status that is made from itself, as counts are that are added to.
func PatchSeen(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	return send(ctx, c, before, after, func(data []byte) ([]byte, error) {
		var patch map[string]json.RawMessage
		if err := json.Unmarshal(data, &patch); err != nil {
			return nil, err
		}
		return withVersion(patch, before.GetResourceVersion())
	})
}

func send(ctx context.Context, c client.Client, before, after client.Object, bound func([]byte) ([]byte, error)) (bool, error) {
	patch := client.MergeFrom(before)
	data, err := patch.Data(after)
	if err != nil {
		return false, err
	}
	if string(data) == "{}" {
		return false, nil
	}
	if data, err = bound(data); err != nil {
		return false, err
	}
	return true, c.Status().Patch(ctx, after, client.RawPatch(patch.Type(), data))
}

// forVersion makes a patch that changes conditions hold for one version only.
func forVersion(data []byte, version string) ([]byte, error) {
	var patch map[string]json.RawMessage
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	var status map[string]json.RawMessage
	if there, ok := patch["status"]; ok {
		if err := json.Unmarshal(there, &status); err != nil {
			return nil, err
		}
	}
	if status["conditions"] == nil || version == "" {
		return data, nil // the patch is of something else, or of an object that was not read
	}
	return withVersion(patch, version)
}

// withVersion makes a patch that holds for one version only.
func withVersion(patch map[string]json.RawMessage, version string) ([]byte, error) {
	metadata := map[string]json.RawMessage{}
	if there, ok := patch["metadata"]; ok {
		if err := json.Unmarshal(there, &metadata); err != nil {
			return nil, err
		}
	}
	metadata["resourceVersion"] = fmt.Appendf(nil, "%q", version)
	var err error
	if patch["metadata"], err = json.Marshal(metadata); err != nil {
		return nil, err
	}
	return json.Marshal(patch)
}
