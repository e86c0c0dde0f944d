package podplan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func TestTroubles(t *testing.T) {
	waiting := func(reason string) *miniv1.MiniPodStatus {
		state := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}}
		return &miniv1.MiniPodStatus{ContainerStatuses: []miniv1.ContainerStatus{{Name: "main", State: state}}}
	}
	killed := func(id string) *miniv1.MiniPodStatus {
		end := &corev1.ContainerStateTerminated{Reason: miniv1.ReasonOOMKilled, ContainerID: id}
		return &miniv1.MiniPodStatus{ContainerStatuses: []miniv1.ContainerStatus{{Name: "main",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, LastState: corev1.ContainerState{Terminated: end}}}}
	}
	running := &miniv1.MiniPodStatus{ContainerStatuses: []miniv1.ContainerStatus{{Name: "main",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	bound := &miniv1.MiniPodStatus{}
	oom := "container main used more memory than its limit and was killed"
	tests := map[string]struct {
		before, after *miniv1.MiniPodStatus
		want          []Trouble
	}{
		"a start":                 {bound, running, nil},
		"on its way":              {bound, waiting(miniv1.ReasonContainerCreating), nil},
		"image missing":           {bound, waiting(miniv1.ReasonErrImagePull), []Trouble{{"ErrImagePull", "container main: why"}}},
		"image still missing":     {waiting(miniv1.ReasonErrImagePull), waiting(miniv1.ReasonImagePullBackOff), nil},
		"image tried again":       {waiting(miniv1.ReasonImagePullBackOff), waiting(miniv1.ReasonErrImagePull), nil},
		"crash":                   {running, waiting(miniv1.ReasonCrashLoopBackOff), []Trouble{{"CrashLoopBackOff", "container main: why"}}},
		"another trouble":         {waiting(miniv1.ReasonErrImagePull), waiting(miniv1.ReasonInvalidImageName), []Trouble{{"InvalidImageName", "container main: why"}}},
		"out of memory":           {running, killed("a"), []Trouble{{"OOMKilled", oom}}},
		"known to be that":        {killed("a"), killed("a"), nil},
		"out of memory once more": {killed("a"), killed("b"), []Trouble{{"OOMKilled", oom}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Troubles(tc.before, tc.after)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
