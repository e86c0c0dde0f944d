package podplan

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Trouble is something that went wrong with a MiniPod or one of its containers, as an Event tells it.
type Trouble struct {
	// Reason is one of the API's.
	Reason string
	Note   string
}

// Troubles are what began to go wrong between two statuses of a MiniPod. A start without trouble has none, and one trouble is
// told once, however long it lasts: that an image is tried again and again is one.
func Troubles(before, after *miniv1.MiniPodStatus) []Trouble {
	var out []Trouble
	if refused := meta.FindStatusCondition(after.Conditions, miniv1.ConditionAdmitted); refused != nil {
		if was := meta.FindStatusCondition(before.Conditions, miniv1.ConditionAdmitted); was == nil || was.Reason != refused.Reason {
			out = append(out, Trouble{refused.Reason, refused.Message})
		}
	}
	if after.Reason != "" && before.Reason == "" {
		out = append(out, Trouble{after.Reason, after.Message})
	}
	if told := mountTrouble(after); told != "" && mountTrouble(before) == "" {
		out = append(out, Trouble{miniv1.ReasonFailedMount, told})
	}
	for _, now := range slices.Concat(after.InitContainerStatuses, after.ContainerStatuses) {
		was := statusByName(before, now.Name)
		if waiting := now.State.Waiting; waiting != nil {
			if kind := troubleKind(waiting); kind != "" && kind != troubleKind(was.State.Waiting) {
				out = append(out, Trouble{waiting.Reason, "container " + now.Name + ": " + waiting.Message + neverBegan(&now)})
			}
		}
		if end := oomEnd(&now); end != "" && end != oomEnd(&was) {
			out = append(out, Trouble{miniv1.ReasonOOMKilled, "container " + now.Name + " used more memory than its limit and was killed"})
		}
	}
	return out
}

// troubleKind groups the reasons to wait that are the same trouble; "" is none.
func troubleKind(waiting *corev1.ContainerStateWaiting) string {
	if waiting == nil {
		return ""
	}
	switch waiting.Reason {
	case miniv1.ReasonErrImagePull, miniv1.ReasonImagePullBackOff:
		return miniv1.ReasonErrImagePull
	case miniv1.ReasonErrImageNeverPull, miniv1.ReasonInvalidImageName, miniv1.ReasonCrashLoopBackOff,
		miniv1.ReasonCreateContainerError, miniv1.ReasonCreateContainerConfig, miniv1.ReasonRunContainerError:
		return waiting.Reason
	}
	return ""
}

// neverBegan is why the last run of a container could not even begin; empty if it did.
func neverBegan(status *miniv1.ContainerStatus) string {
	if last := status.LastState.Terminated; last != nil && last.Reason == miniv1.ReasonStartError && status.State.Waiting.Message != last.Message {
		return ": " + last.Message
	}
	return ""
}

// oomEnd identifies the container whose last end was by the kernel's memory killer.
func oomEnd(status *miniv1.ContainerStatus) string {
	for _, end := range []*corev1.ContainerStateTerminated{status.State.Terminated, status.LastState.Terminated} {
		if end != nil && end.Reason == miniv1.ReasonOOMKilled {
			return end.ContainerID
		}
	}
	return ""
}

func statusByName(status *miniv1.MiniPodStatus, name string) miniv1.ContainerStatus {
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		if c.Name == name {
			return c
		}
	}
	return miniv1.ContainerStatus{}
}

// VolumeFailure is the beginning of a message that tells why a volume cannot be made, which every container that waits for it shows.
const VolumeFailure = "volume "

// mountTrouble is the first such message; empty if there is none.
func mountTrouble(status *miniv1.MiniPodStatus) string {
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		waiting := c.State.Waiting
		if waiting != nil && (waiting.Reason == miniv1.ReasonContainerCreating || waiting.Reason == miniv1.ReasonPodInitializing) &&
			strings.HasPrefix(waiting.Message, VolumeFailure) {
			return waiting.Message
		}
	}
	return ""
}
