// Package fresh lets a test make one reconcile after another, each of which sees everything that happened before it: its
// client reads from the API server and never from a cache, and yet answers by the manager's indexes of owners and nodes.
package fresh

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
)

// Client makes the client from one that reads live.
func Client(live client.Client) client.Client { return reader{live} }

type reader struct{ client.Client }

// List implements client.Reader.
func (r reader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var all client.ListOptions
	all.ApplyOptions(opts)
	fields := all.FieldSelector
	all.FieldSelector, all.UnsafeDisableDeepCopy = nil, nil
	if err := r.Client.List(ctx, list, &all); err != nil || fields == nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	var found []runtime.Object
	for _, item := range items {
		matches := true
		for _, requirement := range fields.Requirements() {
			value, err := indexed(item.(client.Object), requirement.Field)
			if err != nil {
				return err
			}
			matches = matches && value == requirement.Value
		}
		if matches {
			found = append(found, item)
		}
	}
	return meta.SetList(list, found)
}

func indexed(object client.Object, field string) (string, error) {
	switch field {
	case index.Owner:
		if owner := metav1.GetControllerOf(object); owner != nil {
			return string(owner.UID), nil
		}
		return "", nil
	case index.PodNode:
		return object.(*miniv1.MiniPod).Status.NodeName, nil
	}
	return "", fmt.Errorf("fresh: there is no index %q", field)
}
