package podplan

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// A container that was made and could not be started, for example because its program is not there, counts as one that ran and ended at once, as in a
// native Pod: as a restart, with the usual waits, and with why it did not start as how it ended.

// after counts failed starts as attempts, and waits before the next.
func (d *decision) after(f Failure) {
	if d.next.created == "" {
		d.next.attempt += f.Starts
	}
	if at := f.retryAt(true); at.After(d.at) {
		d.at = at
	}
}

// waiting says what a container waits for that could not be made or started.
func (f Failure) waiting(pod *miniv1.MiniPod, c *miniv1.Container, d decision, now time.Time) *corev1.ContainerStateWaiting {
	if f.Starts > 0 && f.Reason == miniv1.ReasonRunContainerError && d.at.After(now) {
		return crashLoop(pod, c, f.Count-1)
	}
	return &corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
}

// tellStarts says of a container that waits how its last start failed: for good, or with another one to come.
func tellStarts(status *miniv1.ContainerStatus, f Failure, d decision, policy corev1.RestartPolicy, hash string) {
	switch {
	case !d.start && gaveUp(policy, f):
		status.State = corev1.ContainerState{Terminated: notStarted(f)}
	case f.Starts > 0 && f.SpecHash == hash:
		status.LastState.Terminated = notStarted(f)
		status.RestartCount = max(status.RestartCount, int32(d.next.attempt-1))
	}
}

func notStarted(f Failure) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: exitNotStarted, Reason: miniv1.ReasonStartError, Message: f.Message,
		FinishedAt: *seconds(f.At)}
}
