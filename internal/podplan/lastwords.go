package podplan

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// What a container may say before it ends, in bytes: alone, and all of a MiniPod together. They are a kubelet's.
const (
	maxLastWords    = 4096
	maxAllLastWords = 12 << 10
)

// MaxLastWords is how many bytes of what a container of the MiniPod said at last are its message.
func MaxLastWords(pod *miniv1.MiniPod) int64 {
	containers := 0
	for range pod.Spec.AllContainers() {
		containers++
	}
	return int64(min(maxLastWords, maxAllLastWords/containers))
}

// LogSpeaks tells whether the end of its log is the message of a container that ended and said nothing else.
func (c Container) LogSpeaks(spec *miniv1.Container) bool {
	return c.ExitCode != 0 && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError
}

// keepWords keeps what containers said at last, as it was published, where nobody can read it any more.
func keepWords(status *miniv1.ContainerStatus, published []miniv1.ContainerStatus, o *Observation) {
	for _, now := range []*corev1.ContainerStateTerminated{status.State.Terminated, status.LastState.Terminated} {
		if now == nil || now.Message != "" {
			continue
		}
		if _, heard := o.LastWords[shortID(now.ContainerID)]; heard {
			continue
		}
		for _, before := range published {
			for _, then := range []*corev1.ContainerStateTerminated{before.State.Terminated, before.LastState.Terminated} {
				if then != nil && then.ContainerID == now.ContainerID {
					now.Message = then.Message
				}
			}
		}
	}
}

func shortID(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }
