package podplan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// sameStart is how far two tellings of one start may be apart: the agent notes when the runtime's call returned, the
	// runtime, asked later, when the process began.
	sameStart = 2 * time.Second
	// exitUnknown and exitNotStarted are the exit codes of containers that nobody saw end, and that never began.
	exitUnknown    = 137
	exitNotStarted = 128

	messageUnanswered      = "the server that started the container does not answer; it is started again when it is certain to have ended"
	messageNoRecord        = "there is no record of how it ended any more; it ended well, for a container started after it"
	messageServerFailed    = "the server that ran the container failed and took it along; the exit code says nothing of the container"
	imagePullBackOffFormat = "back-off pulling image %q: %s"
	crashLoopBackOffFormat = "back-off %s restarting failed container=%s pod=%s_%s(%s)" // a kubelet's, which people look for
)

// containerStatuses has one entry per container of the spec, in its order.
func containerStatuses(pod *miniv1.MiniPod, r row, o *Observation, node Node, now time.Time) (inits, mains []miniv1.ContainerStatus) {
	over := r.inTurn() && r.over(pod, o)
	for _, x := range r {
		d := r.decide(pod, x, o)
		if over { // then nothing is started again, sidecars neither
			d.start = false
		}
		status := containerStatus(pod, r, x, o, d, node.RuntimeName, now)
		if x.kind == miniv1.ContainerInit {
			readyAtEnd(&status, r.passed(x, o))
		}
		started := status.State.Running != nil && o.started(x.spec, o.history(x.spec.Name)[0])
		status.Started = &started
		published := pod.Status.ContainerStatuses
		if x.kind != miniv1.ContainerMain {
			published = pod.Status.InitContainerStatuses
		}
		keepStart(&status, published)
		keepEnd(&status, published)
		keepWords(&status, published, o)
		tellMounts(&status, x.spec, published, node)
		if x.kind == miniv1.ContainerMain {
			mains = append(mains, status)
		} else {
			inits = append(inits, status)
		}
	}
	return inits, mains
}

// readyAtEnd makes the status one of an init container, which is ready when it ended well.
func readyAtEnd(status *miniv1.ContainerStatus, passed bool) {
	if passed && status.ContainerID == "" {
		status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: miniv1.ReasonCompleted, Message: messageNoRecord}}
	}
	status.Ready = status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
}

func containerStatus(pod *miniv1.MiniPod, r row, x part, o *Observation, decision decision, runtimeName string, now time.Time) miniv1.ContainerStatus {
	c := x.spec
	status := miniv1.ContainerStatus{Name: c.Name, Image: c.Image}
	history := o.history(c.Name)
	var older []Container
	switch {
	case len(history) == 0 || history[0].State == StateCreated:
		status.State.Waiting = waiting(pod, r, c, o, decision, now)
		older = history[min(1, len(history)):]
	case history[0].State == StateRunning && !o.posted(c, history[0]):
		status.State.Waiting = afterStart(r, o.postStart(history[0].ID), c.Name)
		older = history[1:]
	case history[0].State == StateRunning:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: *seconds(history[0].StartedAt)}
		status.Ready = o.ready(c, history[0], now)
		older = history[1:]
	case history[0].State == StateUnanswered:
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: miniv1.ReasonContainerStatusUnknown, Message: messageUnanswered}
		older = history[1:]
	case decision.start:
		status.State.Waiting = waiting(pod, r, c, o, decision, now)
		older = history
	default:
		status.State.Terminated = terminated(o, history[0], runtimeName)
		older = history[1:]
	}
	if i := slices.IndexFunc(older, Container.hasEnded); i >= 0 {
		status.LastState.Terminated = terminated(o, older[i], runtimeName)
	}
	if len(history) > 0 {
		last := history[0]
		status.RestartCount = int32(last.Attempt)
		status.Image, status.ImageID = last.Image, last.ImageID
		status.ContainerID = fullID(runtimeName, last.ID)
	}
	if failure, failed := o.Failures[taskOf(c.Name)]; failed && status.State.Waiting != nil {
		tellStarts(&status, failure, decision, x.restartPolicy(pod), SpecHash(c))
	}
	return status
}

// afterStart says what a container waits for that was started: its postStart, as in a native Pod.
func afterStart(r row, h Hook, name string) *corev1.ContainerStateWaiting {
	if h.Failed {
		return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonPostStartHookError, Message: cmp.Or(h.Words, "postStart of container "+name+" failed")}
	}
	return &corev1.ContainerStateWaiting{Reason: r.creating()}
}

// waiting says what a container waits for: its namespace to allow it, the end of a back-off, another try after a failure, its image, or its turn.
func waiting(pod *miniv1.MiniPod, r row, c *miniv1.Container, o *Observation, d decision, now time.Time) *corev1.ContainerStateWaiting {
	failure, failed := o.Failures[taskOf(c.Name)]
	image := o.ImageOf(c)
	shared, sharedFailed := o.Failures[groundTask]
	if volumes, tried := o.Failures[VolumesTask]; !sharedFailed && tried && !o.volumesReady() {
		shared, sharedFailed = volumes, true
	}
	switch {
	case o.refuses(c):
		return &corev1.ContainerStateWaiting{Reason: o.Refusal.Reason, Message: o.Refusal.Message}
	case !validImage(c.Image):
		return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonInvalidImageName,
			Message: fmt.Sprintf("image %q is not a valid reference; correct the image of container %s", c.Image, c.Name)}
	case failed && failure.Reason != "" && failure.SpecHash == SpecHash(c):
		return failure.waiting(pod, c, d, now)
	case d.at.After(now):
		return crashLoop(pod, c, d.next.crashes-1)
	case image.Failures > 0:
		return imageWaiting(c, image, now)
	case image.State == ImagePulling:
		return &corev1.ContainerStateWaiting{Reason: r.creating(), Message: image.pulling()}
	case sharedFailed && shared.Reason == miniv1.ReasonContainerCreating:
		return &corev1.ContainerStateWaiting{Reason: r.creating(), Message: shared.Message}
	case sharedFailed && shared.Reason != "":
		return &corev1.ContainerStateWaiting{Reason: shared.Reason, Message: shared.Message}
	}
	return &corev1.ContainerStateWaiting{Reason: r.creating()}
}

// crashLoop says that a container waits to be started again after so many crashes before the last one.
func crashLoop(pod *miniv1.MiniPod, c *miniv1.Container, crashes int) *corev1.ContainerStateWaiting {
	return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonCrashLoopBackOff,
		Message: fmt.Sprintf(crashLoopBackOffFormat, crashDelay(crashes), c.Name, pod.Name, pod.Namespace, pod.UID)}
}

// creating is why a container waits that nothing keeps from being made, but for its turn.
func (r row) creating() string {
	if r.inTurn() {
		return miniv1.ReasonPodInitializing
	}
	return miniv1.ReasonContainerCreating
}

func imageWaiting(c *miniv1.Container, image Image, now time.Time) *corev1.ContainerStateWaiting {
	switch {
	case PullPolicy(c) == corev1.PullNever && image.Access != "":
		return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonErrImageNeverPull, Message: image.Message}
	case PullPolicy(c) == corev1.PullNever:
		return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonErrImageNeverPull,
			Message: fmt.Sprintf("image %q is not on this node and imagePullPolicy is Never", c.Image)}
	case image.Failures == 1 && now.Before(image.FailedAt.Add(errImagePullFor)):
		return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonErrImagePull, Message: image.Message}
	}
	return &corev1.ContainerStateWaiting{Reason: miniv1.ReasonImagePullBackOff,
		Message: fmt.Sprintf(imagePullBackOffFormat, c.Image, image.Message)}
}

func terminated(o *Observation, c Container, runtimeName string) *corev1.ContainerStateTerminated {
	out := &corev1.ContainerStateTerminated{ExitCode: int32(c.ExitCode), ContainerID: fullID(runtimeName, c.ID)}
	if !c.StartedAt.IsZero() {
		out.StartedAt = *seconds(c.StartedAt)
	}
	if !c.FinishedAt.IsZero() {
		out.FinishedAt = *seconds(c.FinishedAt)
	}
	switch {
	case c.State == StateUnknown:
		out.ExitCode, out.Reason = exitUnknown, miniv1.ReasonContainerStatusUnknown
		out.Message = "nobody saw how the container ended; the node, or the server that started the container, may have been restarted"
	case c.ServerFailed:
		out.Reason, out.Message = miniv1.ReasonShimFailed, messageServerFailed
	case c.OOMKilled:
		out.Reason = miniv1.ReasonOOMKilled
	case c.ExitCode == 0:
		out.Reason = miniv1.ReasonCompleted
	default:
		out.Reason = miniv1.ReasonError
	}
	if out.Message == "" {
		out.Message = o.LastWords[c.ID]
	}
	return out
}

// keepStart keeps the start time that was published for the same container.
func keepStart(status *miniv1.ContainerStatus, published []miniv1.ContainerStatus) {
	if status.State.Running == nil {
		return
	}
	for _, before := range published {
		if before.ContainerID != status.ContainerID || before.State.Running == nil {
			continue
		}
		if apart(before.State.Running.StartedAt, status.State.Running.StartedAt) <= sameStart {
			status.State.Running.StartedAt = before.State.Running.StartedAt
		}
	}
}

// tellMounts says what became of recursiveReadOnly, as a kubelet says it. Once said it stays, and so does that an earlier version said nothing: it would be
// a write for nothing new.
func tellMounts(status *miniv1.ContainerStatus, c *miniv1.Container, published []miniv1.ContainerStatus, node Node) {
	for _, before := range published {
		if before.Name == c.Name && before.ContainerID != "" && before.ContainerID == status.ContainerID {
			status.VolumeMounts = before.VolumeMounts
			return
		}
	}
	for _, m := range c.VolumeMounts {
		if ptr.Deref(m.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled) == corev1.RecursiveReadOnlyDisabled {
			continue
		}
		became := corev1.RecursiveReadOnlyDisabled
		if node.RecursiveReadOnly {
			became = corev1.RecursiveReadOnlyEnabled
		}
		status.VolumeMounts = append(status.VolumeMounts, miniv1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly, RecursiveReadOnly: &became})
	}
}

// keepEnd keeps how a container ended, as it was published, where nobody knows it any more.
func keepEnd(status *miniv1.ContainerStatus, published []miniv1.ContainerStatus) {
	if status.State.Terminated == nil || status.State.Terminated.Reason != miniv1.ReasonContainerStatusUnknown {
		return
	}
	for _, before := range published {
		if before.ContainerID == status.ContainerID && before.State.Terminated != nil {
			status.State.Terminated, status.Ready = before.State.Terminated, before.Ready
		}
	}
}

func apart(a, b metav1.Time) time.Duration { return a.Sub(b.Time).Abs() }

func fullID(runtimeName, id string) string { return runtimeName + "://" + id }
