package podplan

import (
	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

// JobState is how far a job has come: what waits for somebody else, and runs beside the worker. One that failed is none any more, and
// is told of by the failure of its task.
type JobState string

// States of a job.
const (
	JobRunning JobState = "Running"
	JobDone    JobState = "Done"
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
	return false
}

// environment takes the search for a container's variables one step further and tells whether it is at its end. As with a native Pod, they
// are read anew for each start.
func (p *planner) environment(c *miniv1.Container) bool {
	if len(grants.OfContainer(c)) == 0 {
		return true
	}
	state := p.observed.Jobs[EnvironmentTask(c.Name)]
	if state == "" {
		p.add(Action{Type: ReadEnvironment, Container: c.Name})
	}
	return state == JobDone
}

// TryAgain has what failed tried again at once: what it waited for has come, or has changed.
func (o *Observation) TryAgain(task Task) {
	if failure, failed := o.Failures[task]; failed {
		failure.At = failure.At.Add(-backoffMax)
		o.Failures[task] = failure
	}
}
