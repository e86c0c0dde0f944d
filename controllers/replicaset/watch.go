package replicaset

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/podstate"
)

// gatherTime is how long changes of MiniPods are gathered before their set looks at them.
const gatherTime = 20 * time.Millisecond

// interest is in what changes a count, now or with time.
func (r *Reconciler) interest() podcontrol.Interest {
	return podcontrol.Interest{Selections: r.selections, Changed: func(before, after *miniv1.MiniPod) (time.Duration, bool) {
		if podstate.IsActive(before) != podstate.IsActive(after) {
			return 0, true
		}
		return gatherTime, !podcontrol.SameReadiness(before, after)
	}}
}

func (r *Reconciler) selections(ctx context.Context, namespace string) ([]podcontrol.Selection, error) {
	list := &miniv1.MiniReplicaSetList{}
	if err := r.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := make([]podcontrol.Selection, len(list.Items))
	for i := range list.Items {
		out[i] = podcontrol.SelectionOf(&list.Items[i], list.Items[i].Spec.Selector)
	}
	return out, nil
}
