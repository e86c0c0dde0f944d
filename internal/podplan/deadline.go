package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// messageDeadline is a native Pod's.
const messageDeadline = "Pod was active on the node longer than the specified deadline"

// activeUntil is until when a MiniPod may be active, which is counted from when the first agent took it up; zero for ever. This agent counts from
// when it took it up itself, by its own clock: only what was over by then is by the clock of the day, which may have been corrected.
func activeUntil(pod *miniv1.MiniPod, o *Observation) time.Time {
	limit := pod.Spec.ActiveDeadlineSeconds
	if limit == nil || o.TakenUp.IsZero() {
		return time.Time{}
	}
	rest := time.Duration(*limit) * time.Second
	if start := pod.Status.StartTime; start != nil {
		if spent := o.TakenUp.Sub(start.Time); spent >= time.Second { // less is what a status leaves out of a time
			rest -= spent
		}
	}
	return o.TakenUp.Add(rest)
}

// overdue tells whether a MiniPod was active for too long.
func overdue(pod *miniv1.MiniPod, o *Observation, now time.Time) bool {
	until := activeUntil(pod, o)
	return !until.IsZero() && !now.Before(until)
}

// judged is the observation together with what follows from the time.
func (o *Observation) judged(pod *miniv1.MiniPod, now time.Time) *Observation {
	if pod == nil || !overdue(pod, o, now) {
		return o
	}
	out := *o
	out.Overdue = true
	return &out
}

// forced tells whether a MiniPod was ended for a reason that is not its containers'.
func (o *Observation) forced() bool { return o.Overdue || o.Evicted != "" }

// failForced makes the status that of a MiniPod which was ended for a reason that is not its containers', once nothing of it runs any more. One that ended
// well meanwhile did end well, unless it had to go.
func failForced(status *miniv1.MiniPodStatus, o *Observation) {
	if !o.forced() || status.Phase == miniv1.PodSucceeded && o.Evicted == "" {
		return
	}
	for _, c := range o.Containers {
		if c.MayRun() {
			return
		}
	}
	status.Phase, status.Reason, status.Message = miniv1.PodFailed, miniv1.ReasonDeadlineExceeded, messageDeadline
	if o.Evicted != "" {
		status.Reason, status.Message = miniv1.ReasonEvicted, o.Evicted
	}
}
