package podplan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// Node is what a status says of where the MiniPod runs.
type Node struct {
	IP string
	// RuntimeName is the scheme of container IDs, as in "containerd".
	RuntimeName string
}

// Status is the status that the API server should have: what the scheduler wrote, and what is observed. A MiniPod that
// ended stays as it ended.
func Status(pod *miniv1.MiniPod, o *Observation, node Node, now time.Time) miniv1.MiniPodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	if podstate.IsFinished(pod) {
		return status
	}
	status.HostIP = node.IP
	if o.Address.IsValid() {
		status.PodIP = o.Address.String()
	}
	if status.StartTime == nil && !o.TakenUp.IsZero() {
		status.StartTime = seconds(o.TakenUp)
	}
	status.ContainerStatuses = containerStatuses(pod, o, node.RuntimeName, now)
	status.Phase = phaseOf(pod.Spec.RestartPolicy, status.ContainerStatuses)
	ready := 0
	status.Restarts = 0
	for _, c := range status.ContainerStatuses {
		status.Restarts += c.RestartCount
		if c.Ready {
			ready++
		}
	}
	total := len(status.ContainerStatuses)
	status.ReadyContainers = fmt.Sprintf("%d/%d", ready, total)
	status.Summary = summaryOf(status.Phase, status.ContainerStatuses, ready == total)
	setConditions(pod, &status, now)
	setAdmission(pod, &status, o.Refusal, now)
	return status
}

// phaseOf is the phase by a native Pod's rules.
func phaseOf(policy corev1.RestartPolicy, statuses []miniv1.ContainerStatus) miniv1.MiniPodPhase {
	var neverRan, running, ended, succeeded int
	for _, c := range statuses {
		switch {
		case c.State.Running != nil, c.State.Waiting != nil && c.State.Waiting.Reason == miniv1.ReasonContainerStatusUnknown:
			running++ // or may, and nobody says that it does not
		case c.State.Terminated != nil:
			ended++
			if c.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case c.LastState.Terminated != nil:
			ended++ // waiting to be started again
		default:
			neverRan++
		}
	}
	switch {
	case neverRan > 0:
		return miniv1.PodPending
	case running > 0, policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure:
		return miniv1.PodRunning
	case succeeded == ended:
		return miniv1.PodSucceeded
	case policy == corev1.RestartPolicyNever && allTerminated(statuses):
		return miniv1.PodFailed
	}
	return miniv1.PodRunning
}

func allTerminated(statuses []miniv1.ContainerStatus) bool {
	for _, c := range statuses {
		if c.State.Terminated == nil {
			return false
		}
	}
	return true
}

// summaryOf is the STATUS column as kubectl makes it for a native Pod: what keeps the first container that is kept from
// running, or else the phase.
func summaryOf(phase miniv1.MiniPodPhase, statuses []miniv1.ContainerStatus, ready bool) string {
	summary, running := string(phase), false
	for _, status := range slices.Backward(statuses) {
		state := status.State
		switch {
		case state.Waiting != nil && state.Waiting.Reason != "":
			summary = state.Waiting.Reason
		case state.Terminated != nil && state.Terminated.Reason != "":
			summary = state.Terminated.Reason
		case state.Running != nil && status.Ready:
			running = true
		}
	}
	if summary == miniv1.ReasonCompleted && running {
		if ready {
			return string(miniv1.PodRunning)
		}
		return "NotReady"
	}
	return summary
}

// seconds is a time as the API server stores it.
func seconds(t time.Time) *metav1.Time {
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}
