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

// initTally is how far init containers and sidecars have come.
type initTally struct {
	// initializing: one has not ended yet; failed: one ended badly, and is not about to be tried again.
	initializing, failed bool
	sidecars             tally
}

func initTallyOf(r row, statuses []miniv1.ContainerStatus) (t initTally) {
	for i := range statuses {
		switch c := &statuses[i]; {
		case r[i].kind == miniv1.ContainerSidecar:
			one := tallyOf(statuses[i : i+1])
			t.sidecars.running, t.sidecars.neverRan = t.sidecars.running+one.running, t.sidecars.neverRan+one.neverRan
		case c.State.Terminated != nil:
			t.failed = t.failed || c.State.Terminated.ExitCode != 0
		case c.LastState.Terminated == nil || mayRun(c):
			t.initializing = true
		}
	}
	return t
}

// phaseOf is the phase by a native Pod's rules. Init containers count until they are passed, and sidecars while they run: a MiniPod
// has not ended before they have.
func phaseOf(policy corev1.RestartPolicy, r row, status *miniv1.MiniPodStatus) miniv1.MiniPodPhase {
	before, main := initTallyOf(r, status.InitContainerStatuses), tallyOf(status.ContainerStatuses)
	initialized := main.neverRan < len(status.ContainerStatuses)
	switch {
	case before.failed && !initialized && policy == corev1.RestartPolicyNever && before.sidecars.running == 0:
		return miniv1.PodFailed
	case before.initializing, before.sidecars.neverRan > 0 && !initialized, main.neverRan > 0:
		return miniv1.PodPending
	case before.sidecars.running > 0 || main.running > 0, policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure:
		return miniv1.PodRunning
	case main.succeeded == main.ended:
		return miniv1.PodSucceeded
	case policy == corev1.RestartPolicyNever && main.retrying == 0:
		return miniv1.PodFailed
	}
	return miniv1.PodRunning
}
