package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TaskKind is a kind of what is tried for a MiniPod, and may fail.
type TaskKind string

// Kinds of tasks.
const (
	// TaskGround is to make what all containers of the MiniPod stand on: sandbox, network, files.
	TaskGround TaskKind = "Ground"
	// TaskContainer is to make one container and to start it.
	TaskContainer TaskKind = "Container"
	// TaskVolumes is to make the volumes of the MiniPod, and to bring their files up to date.
	TaskVolumes TaskKind = "Volumes"
	// TaskEnvironment is to read what the variables of one container come from. A failure of it is one of making the container.
	TaskEnvironment TaskKind = "Environment"
	// TaskTeardown is to take away what must not be there.
	TaskTeardown TaskKind = "Teardown"
)

// Task is something that is tried again and again until it works. Failures in a row are counted, and waited after, by it.
type Task struct {
	Kind TaskKind
	// Of is the name in the spec of what is made; empty where there is one task of the kind for all of the MiniPod.
	Of string
}

// Tasks that concern all of a MiniPod.
var (
	groundTask = Task{Kind: TaskGround}
	// VolumesTask is that of all volumes of a MiniPod.
	VolumesTask  = Task{Kind: TaskVolumes}
	teardownTask = Task{Kind: TaskTeardown}
)

func taskOf(container string) Task { return Task{Kind: TaskContainer, Of: container} }

// ContainerTask is to make one container and to start it.
func ContainerTask(container string) Task { return taskOf(container) }

// task is what an action is a part of.
func (a Action) task() Task {
	switch a.Type {
	case LookupImage, PullImage, ReadEnvironment, CreateContainer, StartContainer:
		return taskOf(a.Container)
	case EnsureSandbox, AttachNetwork, WriteFiles:
		return groundTask
	case MakeVolumes:
		return VolumesTask
	}
	return teardownTask
}

// Failure is a failed try, and how many there were in a row.
type Failure struct {
	// Reason as in a waiting container's status; empty when somebody just did not answer.
	Reason  string
	Message string
	At      time.Time
	Count   int
	// Unanswered is how often in a row nobody answered.
	Unanswered int
	// Starts is how many of them were starts of a container that was made: each was a run of it, if a short one.
	Starts int
	// SpecHash of the container that failed; a changed container is tried at once.
	SpecHash string
}

// Succeeded notes that an action was done: what failed before works now, if that proves it. A container works when it started.
func (o *Observation) Succeeded(a Action) {
	if a.Type == MakeVolumes { // it began; its end is told
		return
	}
	if a.Container == "" || a.Type == StartContainer {
		delete(o.Failures, a.task())
	}
}

// Failed notes that an action failed, for a reason and in the words of who did it. An empty reason says that it is not known whether it
// was done, because somebody did not answer; that counts as no failure. That a container could not be started is a run of it only where it is
// for a reason of its own.
func (o *Observation) Failed(desired *miniv1.MiniPod, a Action, reason, words string, now time.Time) {
	failure := o.Failures[a.task()]
	if desired != nil && a.Container != "" {
		hash := SpecHash(ContainerNamed(desired, a.Container))
		if failure.SpecHash != hash {
			failure = Failure{SpecHash: hash}
		}
	}
	failure.At, failure.Reason, failure.Message = now, reason, words
	if reason == "" {
		failure.Unanswered++
		o.Failures[a.task()] = failure
		return
	}
	failure.Count, failure.Unanswered = failure.Count+1, 0
	if a.Type == StartContainer {
		o.Drop(a.ID)
	}
	if reason == miniv1.ReasonRunContainerError {
		failure.Starts++
	}
	o.Failures[a.task()] = failure
}
