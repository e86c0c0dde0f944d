package jobplan

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
)

// Selector finds the MiniPods of a MiniJob: by the label of its UID, or by its own selector. An error says that the latter cannot be read,
// or does not match the template; then it selects nothing.
func Selector(job *miniv1.MiniJob) (labels.Selector, error) {
	if job.Spec.Selector == nil {
		return labels.SelectorFromSet(labels.Set{batchv1.ControllerUidLabel: string(job.UID)}), nil
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return labels.Nothing(), fmt.Errorf("selector cannot be read, so no MiniPod is created: %w. It cannot be changed; "+
			"delete this object and create it anew with a correct selector", err)
	}
	if !selector.Matches(labels.Set(job.Spec.Template.Metadata.Labels)) {
		return labels.Nothing(), fmt.Errorf("selector %q does not match the labels of the template, so no MiniPod is created. "+
			"Neither can be changed; delete this object and create it anew", selector)
	}
	return selector, nil
}

// start notes when the MiniJob begins, ends for the time being, and begins again.
func (p *planner) start() {
	s, now := &p.Status, metav1.NewTime(p.Now)
	if s.StartTime == nil && !p.spec.suspended {
		s.StartTime = &now
	}
}

// pause notes that the MiniJob is suspended, or goes on. The deadline counts anew then.
func (p *planner) pause() {
	s, now := &p.Status, metav1.NewTime(p.Now)
	suspended := meta.FindStatusCondition(s.Conditions, miniv1.ConditionSuspended)
	switch {
	case p.spec.suspended && !is(s.Conditions, miniv1.ConditionSuspended):
		s.StartTime = nil
		p.set(s, miniv1.ConditionSuspended, true, miniv1.ReasonJobSuspended, "Job suspended")
	case !p.spec.suspended && suspended != nil && suspended.Status == metav1.ConditionTrue:
		s.StartTime = &now
		p.set(s, miniv1.ConditionSuspended, false, miniv1.ReasonJobResumed, "Job resumed")
	}
}

// tell makes the rest of the status from what is seen.
func (p *planner) tell() {
	s := &p.Status
	if p.open() {
		p.pause()
	}
	if v := p.verdict; v != nil && !v.known {
		kind := miniv1.ConditionFailureTarget
		if v.success {
			kind = miniv1.ConditionSuccessCriteriaMet
		}
		p.set(s, kind, true, v.reason, v.message)
	}
	ready := int32(0)
	for _, pod := range p.pods.active {
		if podstate.IsReady(pod) {
			ready++
		}
	}
	terminating := int32(p.terminating.Len())
	s.Active, s.Ready, s.Terminating = int32(len(p.pods.active)), &ready, &terminating
	s.ObservedGeneration = p.Job.Generation
	if selector, err := Selector(p.Job); err == nil {
		s.Selector = conditions.Clip(selector.String(), 4096)
	}
	summarize(p.Job, s, conditions.Failure{}, p.Now)
}

func (p *planner) set(s *miniv1.MiniJobStatus, kind string, truth bool, reason, message string) {
	set(p.Job, s, p.Now, kind, truth, reason, message)
}

func set(job *miniv1.MiniJob, s *miniv1.MiniJobStatus, now time.Time, kind string, truth bool, reason, message string) {
	setter(job, s, now).Set(kind, truth, reason, message)
}

func setter(job *miniv1.MiniJob, s *miniv1.MiniJobStatus, now time.Time) conditions.Setter {
	return conditions.Setter{List: &s.Conditions, Generation: job.Generation, Now: metav1.NewTime(now)}
}

// Done is what of a plan was carried out.
type Done struct {
	// Released are without finalizer, Deleted were deleted.
	Released, Deleted sets.Set[types.UID]
	// Created is how many MiniPods were.
	Created int
	// Failure is what could not be done.
	Failure conditions.Failure
}

// After is the status once the plan was carried out, as far as it was.
func (p *Plan) After(o Observed, done Done) miniv1.MiniJobStatus {
	s := p.Status.DeepCopy()
	if IsFinished(o.Job) {
		return *s
	}
	tracked := map[types.UID]bool{}
	terminating, strays := p.terminating.Clone(), 0
	for _, pod := range o.Pods {
		has := holds(pod, o.Released)
		tracked[pod.UID] = has && !done.Released.Has(pod.UID)
		switch {
		case !podstate.IsActive(pod):
		case done.Deleted.Has(pod.UID):
			uncount(s, pod, has, terminating)
		case !has:
			strays++
		}
	}
	left := 0
	for _, has := range tracked {
		if has {
			left++
		}
	}
	s.Active = max(0, s.Active) + int32(done.Created)
	*s.Ready = min(max(0, *s.Ready), s.Active)
	*s.Terminating = int32(terminating.Len())
	fold(s, func(uid types.UID) bool { return tracked[uid] })
	if p.verdict != nil && left == 0 && s.UncountedTerminatedPods == nil && terminating.Len() == 0 && s.Active == 0 && strays == 0 {
		p.finish(o, s)
	}
	summarize(o.Job, s, done.Failure, o.Now)
	return *s
}

// uncount notes that an active MiniPod was deleted, which counts among the active if it was held.
func uncount(s *miniv1.MiniJobStatus, pod *miniv1.MiniPod, held bool, terminating sets.Set[types.UID]) {
	if held {
		s.Active--
		if podstate.IsReady(pod) {
			*s.Ready--
		}
	}
	if podstate.IsBound(pod) {
		terminating.Insert(pod.UID)
	}
}

// Finishes tells whether a status says of a MiniJob that it is complete or has failed.
func Finishes(s *miniv1.MiniJobStatus) bool {
	return is(s.Conditions, miniv1.ConditionComplete) || is(s.Conditions, miniv1.ConditionFailed)
}

func (p *Plan) finish(o Observed, s *miniv1.MiniJobStatus) {
	kind, now := miniv1.ConditionFailed, metav1.NewTime(o.Now)
	if p.verdict.success {
		kind, s.CompletionTime = miniv1.ConditionComplete, &now
	}
	if s.StartTime == nil { // it was suspended
		s.StartTime = &now
	}
	set(o.Job, s, o.Now, kind, true, p.verdict.reason, p.verdict.message)
}

// finishedAt is when a MiniJob was complete or had failed; zero when neither is so.
func finishedAt(s *miniv1.MiniJobStatus) time.Time {
	for _, kind := range []string{miniv1.ConditionComplete, miniv1.ConditionFailed} {
		if c := meta.FindStatusCondition(s.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// summarize makes what kubectl shows, and the conditions by which tools tell how far any object is: of Ready, Reconciling and Stalled
// at most one is true.
func summarize(job *miniv1.MiniJob, s *miniv1.MiniJobStatus, failure conditions.Failure, now time.Time) {
	s.Summary, s.Progress = summary(job, s), progress(job, s)
	if end := finishedAt(s); !end.IsZero() && s.StartTime != nil {
		s.Duration = duration.HumanDuration(end.Sub(s.StartTime.Time))
	}
	reason, message := miniv1.ReasonInProgress, s.Progress+" MiniPods ended well."
	complete, failed := is(s.Conditions, miniv1.ConditionComplete), is(s.Conditions, miniv1.ConditionFailed)
	for _, kind := range []string{miniv1.ConditionSuspended, miniv1.ConditionComplete, miniv1.ConditionFailed} {
		if c := meta.FindStatusCondition(s.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			reason, message = c.Reason, c.Message
		}
	}
	set(job, s, now, miniv1.ConditionReady, complete, reason, message)
	if failure.Reason != "" && !complete && !failed {
		reason, message = failure.Reason, failure.Message
	}
	suspended := is(s.Conditions, miniv1.ConditionSuspended)
	to := setter(job, s, now)
	to.Maybe(failed || failure.Final, miniv1.ConditionStalled, reason, message)
	to.Maybe(!complete && !failed && !failure.Final && (!suspended || failure.Reason != ""), miniv1.ConditionReconciling, reason, message)
}

func summary(job *miniv1.MiniJob, s *miniv1.MiniJobStatus) string {
	for _, kind := range []string{miniv1.ConditionComplete, miniv1.ConditionFailed} {
		if is(s.Conditions, kind) {
			return kind
		}
	}
	if job.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, kind := range []string{miniv1.ConditionSuspended, miniv1.ConditionFailureTarget, miniv1.ConditionSuccessCriteriaMet} {
		if is(s.Conditions, kind) {
			return kind
		}
	}
	return "Running"
}

func progress(job *miniv1.MiniJob, s *miniv1.MiniJobStatus) string {
	spec := specOf(job)
	switch {
	case !spec.queue:
		return fmt.Sprintf("%d/%d", s.Succeeded, spec.completions)
	case spec.parallelism > 1:
		return fmt.Sprintf("%d/1 of %d", s.Succeeded, spec.parallelism)
	}
	return fmt.Sprintf("%d/1", s.Succeeded)
}
