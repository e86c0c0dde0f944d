package podplan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// summarize fills in what `kubectl get` shows, as it makes it for a native Pod. While init containers are at work it speaks of those
// alone, and then of sidecars and main containers.
func summarize(r row, status *miniv1.MiniPodStatus) {
	ready, total := 0, len(status.ContainerStatuses)
	for _, p := range r {
		if p.kind == miniv1.ContainerSidecar {
			total++
		}
	}
	status.Summary, status.Restarts = string(status.Phase), 0
	initializing := summarizeInit(r, status, &ready)
	if !initializing || meta.IsStatusConditionTrue(status.Conditions, miniv1.ConditionInitialized) {
		status.Restarts = 0
		for i, c := range status.InitContainerStatuses {
			if r[i].kind == miniv1.ContainerSidecar {
				status.Restarts += c.RestartCount
			}
		}
		summarizeMain(status, &ready)
	}
	status.ReadyContainers = fmt.Sprintf("%d/%d", ready, total)
	if status.Reason != "" { // why all of it ended says more than how its containers did
		status.Summary = status.Reason
	}
}

// summarizeInit tells of the first init container that is not passed, and whether there is one.
func summarizeInit(r row, status *miniv1.MiniPodStatus, ready *int) bool {
	for i, c := range status.InitContainerStatuses {
		status.Restarts += c.RestartCount
		switch state := c.State; {
		case state.Terminated != nil && state.Terminated.ExitCode == 0:
			continue
		case r[i].kind == miniv1.ContainerSidecar && c.Started != nil && *c.Started:
			if c.Ready {
				*ready++
			}
			continue
		case state.Terminated != nil:
			status.Summary = "Init:" + state.Terminated.Reason
		case state.Waiting != nil && state.Waiting.Reason != miniv1.ReasonPodInitializing:
			status.Summary = "Init:" + state.Waiting.Reason
		default:
			status.Summary = fmt.Sprintf("Init:%d/%d", i, len(status.InitContainerStatuses))
		}
		return true
	}
	return false
}

// summarizeMain tells what keeps the first container that is kept from running, or else what was said before: the phase, or what keeps a sidecar.
func summarizeMain(status *miniv1.MiniPodStatus, ready *int) {
	running, failed := false, ""
	for _, c := range slices.Backward(status.ContainerStatuses) {
		status.Restarts += c.RestartCount
		switch state := c.State; {
		case state.Waiting != nil && state.Waiting.Reason != "":
			status.Summary = state.Waiting.Reason
		case state.Terminated != nil && state.Terminated.Reason != "":
			status.Summary = state.Terminated.Reason
			if state.Terminated.ExitCode != 0 {
				failed = status.Summary
			}
		case state.Running != nil && c.Ready:
			running = true
			*ready++
		}
	}
	switch {
	case status.Summary != miniv1.ReasonCompleted:
	case running && meta.IsStatusConditionTrue(status.Conditions, miniv1.ConditionReady):
		status.Summary = string(miniv1.PodRunning)
	case failed != "": // one ended well, and another did not
		status.Summary = failed
	case running:
		status.Summary = "NotReady"
	}
}
