package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/podstate"
)

// JobState is how far a job has come: what waits for somebody else, and runs beside the worker. One that failed is none any more, and
// is told of by the failure of its task.
type JobState string

// States of a job.
const (
	JobRunning JobState = "Running"
	JobDone    JobState = "Done"
	// JobStale is one that was done, and is to be done again, because what it is of has changed; JobRenewing one that is being done again.
	// What it did first holds meanwhile.
	JobStale    JobState = "Stale"
	JobRenewing JobState = "Renewing"
)

// volumesEvery and volumesAtOnce bound how often the volumes of a MiniPod are made: so often at once, and then once in that time. Who changes a
// ConfigMap all the time has the last version in its files soon enough, and the node something else to do.
const (
	volumesEvery  = time.Second
	volumesAtOnce = 5
)

// EnvironmentTask is to read what a container's variables come from.
func EnvironmentTask(container string) Task { return Task{Kind: TaskEnvironment, Of: container} }

// SetJob notes a change of a job. The empty state is that there is none.
func (o *Observation) SetJob(task Task, state JobState) {
	if state == "" {
		delete(o.Jobs, task)
		return
	}
	if o.Jobs == nil {
		o.Jobs = map[Task]JobState{}
	}
	o.Jobs[task] = state
}

// waits tells whether somebody else is waited for who usually answers at once.
func (o *Observation) waits() bool {
	for _, state := range o.Jobs {
		if state == JobRunning {
			return true
		}
	}
	for of, hook := range o.Hooks {
		if of.Kind == miniv1.HookPostStart && hook.Runs {
			return true
		}
	}
	return false
}

// Outdate has a job that was done be done again.
func (o *Observation) Outdate(task Task) {
	if o.Jobs[task] == JobDone {
		o.SetJob(task, JobStale)
	}
}

// volumesReady tells whether containers can be given the volumes of the MiniPod.
func (o *Observation) volumesReady() bool {
	switch o.Jobs[VolumesTask] {
	case JobDone, JobStale, JobRenewing:
		return true
	}
	return false
}

// volumes makes the volumes of the MiniPod, and tells whether they are there. They need no ground and are made beside it. An agent that comes
// anew has them made again, which is to complete them and to hear of changes; what runs runs on meanwhile.
func (p *planner) volumes(starting bool) bool {
	o := p.observed
	if len(p.desired.Spec.Volumes) == 0 || !starting && !p.anyRunning() {
		return true
	}
	switch state := o.Jobs[VolumesTask]; {
	case state == JobDone && (o.VolumesUntil.IsZero() || p.now.Before(o.VolumesUntil)):
		p.waitUntil(o.VolumesUntil)
		return true
	case state == JobRenewing:
		return true
	case state == JobRunning:
		return false
	}
	next := o.VolumesPace.Add((1 - volumesAtOnce) * volumesEvery)
	if failure, failed := o.Failures[VolumesTask]; failed && failure.retryAt(false).After(next) {
		next = failure.retryAt(false)
	}
	if next.After(p.now) {
		p.waitUntil(next)
	} else {
		p.add(Action{Type: MakeVolumes})
	}
	return o.volumesReady()
}

// BeginVolumes notes that the volumes begin to be made.
func (o *Observation) BeginVolumes(now time.Time) {
	if o.VolumesPace.Before(now) {
		o.VolumesPace = now
	}
	o.VolumesPace = o.VolumesPace.Add(volumesEvery)
}

// environment takes the search for a container's variables one step further and tells whether it is at its end. As with a native Pod, they
// are read anew for each start.
func (p *planner) environment(c *miniv1.Container) bool {
	if len(grants.OfContainer(c)) == 0 {
		return true
	}
	state := p.observed.Jobs[EnvironmentTask(c.Name)]
	if state == "" && p.observed.Near(p.desired, c) {
		p.add(Action{Type: ReadEnvironment, Container: c.Name})
	}
	return state == JobDone
}

// Near tells whether a container can be expected to be made soon, so that what its variables come from, which can be much, is read in advance and kept for it: nothing
// that it waits for has failed, or takes long.
func (o *Observation) Near(pod *miniv1.MiniPod, c *miniv1.Container) bool {
	if podstate.IsDeleting(pod) || podstate.IsFinished(pod) || o.forced() || o.refuses(c) {
		return false
	}
	image := o.ImageOf(c)
	_, ground := o.Failures[groundTask]
	_, volumes := o.Failures[VolumesTask]
	return image.State != ImageFailed && image.Progress.For == 0 && (!ground || o.grounded()) && (!volumes || o.volumesReady())
}

// TryAgain has what failed tried again at once: what it waited for has come, or has changed.
func (o *Observation) TryAgain(task Task) {
	if failure, failed := o.Failures[task]; failed {
		failure.At = failure.At.Add(-backoffMax)
		o.Failures[task] = failure
	}
}
