package podplan

import (
	"slices"

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
	// initializing: one has not ended yet; failed: one ended badly, and is never tried again.
	initializing, failed bool
	sidecars             tally
}

func initTallyOf(pod *miniv1.MiniPod, r row, statuses []miniv1.ContainerStatus) (t initTally) {
	for i := range statuses {
		switch c := &statuses[i]; {
		case r[i].kind == miniv1.ContainerSidecar:
			one := tallyOf(statuses[i : i+1])
			t.sidecars.running, t.sidecars.neverRan = t.sidecars.running+one.running, t.sidecars.neverRan+one.neverRan
		case c.State.Terminated != nil:
			t.failed = t.failed || c.State.Terminated.ExitCode != 0 && r[i].restartPolicy(pod) == corev1.RestartPolicyNever
		case c.LastState.Terminated == nil || mayRun(c):
			t.initializing = true
		}
	}
	return t
}

// phaseOf is the phase by a native Pod's rules. Init containers count until they are passed, and sidecars while they run: a MiniPod
// has not ended before they have.
func phaseOf(pod *miniv1.MiniPod, r row, status *miniv1.MiniPodStatus) miniv1.MiniPodPhase {
	before, main := initTallyOf(pod, r, status.InitContainerStatuses), tallyOf(status.ContainerStatuses)
	initialized := main.neverRan < len(status.ContainerStatuses)
	switch {
	case before.failed && !initialized && before.sidecars.running == 0:
		return miniv1.PodFailed
	case before.initializing, before.sidecars.neverRan > 0 && !initialized, main.neverRan > 0:
		return miniv1.PodPending
	case before.sidecars.running > 0 || main.running > 0, r.goesOn(pod):
		return miniv1.PodRunning
	case main.succeeded == main.ended:
		return miniv1.PodSucceeded
	case main.retrying == 0:
		return miniv1.PodFailed
	}
	return miniv1.PodRunning
}

// goesOn tells whether one of the main containers is always started again.
func (r row) goesOn(pod *miniv1.MiniPod) bool {
	return slices.ContainsFunc(r, func(x part) bool {
		return x.kind == miniv1.ContainerMain && x.restartPolicy(pod) == corev1.RestartPolicyAlways
	})
}
