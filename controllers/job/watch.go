package job

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jobplan"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/internal/podstate"
)

// gatherTime is how long MiniPods that come, change and go are gathered before their MiniJob looks at them. Thousands of short ones
// cost it ten writes a second at most; a native Job gathers for a second.
const gatherTime = 100 * time.Millisecond

func (r *Reconciler) interest() podcontrol.Interest {
	return podcontrol.Interest{Selections: r.selections, Gather: gatherTime, Changed: func(before, after *miniv1.MiniPod) (time.Duration, bool) {
		return gatherTime, countsAs(before) != countsAs(after)
	}}
}

// standing is what of a MiniPod matters to its MiniJob.
type standing struct {
	active, ended, ready, tracked bool
	restarts                      int32
}

func countsAs(pod *miniv1.MiniPod) standing {
	return standing{
		active: podstate.IsActive(pod), ended: jobplan.Ended(pod), ready: podstate.IsReady(pod),
		tracked: slices.Contains(pod.Finalizers, miniv1.JobFinalizer), restarts: pod.Status.Restarts,
	}
}

// selections are those of all MiniJobs of a namespace that have a selector of their own. The others find what they could adopt by
// a label that only their own MiniPods get.
func (r *Reconciler) selections(ctx context.Context, namespace string) ([]podcontrol.Selection, error) {
	list := &miniv1.MiniJobList{}
	if err := r.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []podcontrol.Selection
	for i := range list.Items {
		if job := &list.Items[i]; job.Spec.Selector != nil && ours(job) {
			out = append(out, podcontrol.SelectionOf(job, job.Spec.Selector))
		}
	}
	return out, nil
}
