package podplan

import (
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// tally counts containers by how far they have come.
type tally struct {
	neverRan, running, ended, succeeded int
	// retrying are among those that ended, and wait to be started again.
	retrying int
}

func tallyOf(statuses []miniv1.ContainerStatus) (t tally) {
	for _, c := range statuses {
		switch {
		case mayRun(&c):
			t.running++ // or may, and nobody says that it does not
		case c.State.Terminated != nil:
			t.ended++
			if c.State.Terminated.ExitCode == 0 {
				t.succeeded++
			}
		case c.LastState.Terminated != nil:
			t.ended, t.retrying = t.ended+1, t.retrying+1
		default:
			t.neverRan++
		}
	}
	return t
}

func mayRun(c *miniv1.ContainerStatus) bool {
	return c.State.Running != nil || c.State.Waiting != nil && c.State.Waiting.Reason == miniv1.ReasonContainerStatusUnknown
}

// phaseOf is the phase by a native Pod's rules. Init containers count until they are passed, and sidecars while they run: a MiniPod
// has not ended before they have.
func phaseOf(policy corev1.RestartPolicy, r row, status *miniv1.MiniPodStatus) miniv1.MiniPodPhase {
	main := tallyOf(status.ContainerStatuses)
	initialized := main.neverRan < len(status.ContainerStatuses)
	initializing, failed, sidecars := false, false, tally{}
	for i := range status.InitContainerStatuses {
		switch c := &status.InitContainerStatuses[i]; {
		case r[i].kind == miniv1.ContainerSidecar:
			one := tallyOf(status.InitContainerStatuses[i : i+1])
			sidecars.running, sidecars.neverRan = sidecars.running+one.running, sidecars.neverRan+one.neverRan
		case c.State.Terminated != nil:
			failed = failed || c.State.Terminated.ExitCode != 0
		case c.LastState.Terminated == nil || mayRun(c):
			initializing = true
		}
	}
	switch {
	case failed && !initialized && policy == corev1.RestartPolicyNever && sidecars.running == 0:
		return miniv1.PodFailed
	case initializing, sidecars.neverRan > 0 && !initialized, main.neverRan > 0:
		return miniv1.PodPending
	case sidecars.running > 0 || main.running > 0, policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure:
		return miniv1.PodRunning
	case main.succeeded == main.ended:
		return miniv1.PodSucceeded
	case policy == corev1.RestartPolicyNever && main.retrying == 0:
		return miniv1.PodFailed
	}
	return miniv1.PodRunning
}
