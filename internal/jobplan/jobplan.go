// Package jobplan decides what a MiniJob should do next: which MiniPods to count, to let go, to end and to create, whether it
// is complete or has failed, and what its status says. The rules are those of a native Job.
//
// The algorithm: look at all MiniPods that belong to the MiniJob. Those that have ended are written down in the status first,
// by UID or by index; only then is their finalizer taken off, and only when that is off do they move into the counts. So each
// counts once, wherever a manager dies in between: what is written down and still has its finalizer waits, what is written down
// and has none is counted, and what has its finalizer and is not written down is new. Failures are judged before success, and
// a judgement is written down before anything is done about it. Where nothing is decided, MiniPods are created up to
// parallelism, after a pause that doubles with each failure, or too many are dropped.
//
// What makes it hard: whatever is decided has to be decided again, and alike, from what the dead manager left. And ten thousand
// MiniPods may end at once: a plan writes down, and lets go, a bounded number, and judges nothing before all that has ended is
// written down.
package jobplan

import (
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// most is how many MiniPods a plan creates, deletes or lets go at most, so that one pass is bounded.
	most = 500
	// mostUncounted keeps the list of UIDs in a status below 20 KB.
	mostUncounted = 500
	// Keep is how many MiniPods that have ended and are counted a MiniJob keeps; docs/designs/jobs.md says why.
	Keep = 1000
)

// Observed is what there is.
type Observed struct {
	// Job is the MiniJob; it is not changed.
	Job *miniv1.MiniJob
	// Pods are all that belong to it. They are not changed.
	Pods []*miniv1.MiniPod
	// Released are MiniPods whose finalizer is off, although Pods may still show it.
	Released sets.Set[types.UID]
	// Backoff is what is known of earlier failures; nil when nothing is, as after a restart.
	Backoff *Backoff
	// Now is the time of the pass.
	Now time.Time
}

// Plan is what to do, in this order: store Status if First; delete End; take the finalizer off Release, unless deleting one
// failed; take it off Drop and delete them; create Create; delete Trim.
type Plan struct {
	// Status is what must be known before anything else is done, and First whether something of it must.
	Status miniv1.MiniJobStatus
	First  bool
	// End are to be deleted because the MiniJob is complete or has failed.
	End []*miniv1.MiniPod
	// Release are written down in Status, or of no account.
	Release []*miniv1.MiniPod
	// Drop are too many, and end without being counted.
	Drop []*miniv1.MiniPod
	// Create are the MiniPods to create.
	Create []Creation
	// Trim have ended and are counted, and are more than are kept.
	Trim []*miniv1.MiniPod
	// Expired says that the time after the end is over: delete the MiniJob.
	Expired bool
	// Backoff is what is known of failures once Status is stored.
	Backoff Backoff
	// Wake is after how long something happens by the mere passing of time; 0 when nothing will.
	Wake time.Duration

	// verdict is what becomes of the MiniJob; nil while that is open.
	verdict *verdict
	// terminating are being deleted and have not ended.
	terminating sets.Set[types.UID]
}

// Creation is one MiniPod to create.
type Creation struct {
	// Index is its completion index; -1 where there are none.
	Index int
	// Failures and Ignored are how often the index failed before, counted and not. They are told only with backoffLimitPerIndex.
	Failures, Ignored int
	PerIndex          bool
}

// Make plans.
func Make(o Observed) Plan {
	p := &planner{Observed: o, spec: specOf(o.Job)}
	p.Status = *o.Job.Status.DeepCopy()
	p.sort()
	if IsFinished(o.Job) {
		p.afterwards()
		return p.Plan
	}
	p.fold()
	p.start()
	p.know()
	p.judge()
	p.settle()
	if p.open() {
		p.manage()
	}
	p.trim()
	p.tell()
	return p.Plan
}

// planner makes one plan.
type planner struct {
	Observed
	Plan
	spec spec
	pods pods
	// succeeded and failed are how many MiniPods did so far, written down or not.
	succeeded, failed int
	// news have ended and are not written down by UID; written are those that are.
	news    ended
	written map[types.UID]bool
	// done and given are the indexes that succeeded, and failed for good.
	done, given Indexes
	// delayed are failed MiniPods, by index, that keep their finalizer until their successor is there, which has to know how
	// often the index failed.
	delayed map[int]*miniv1.MiniPod
	// overflow says that more has ended than this plan can write down: nothing is judged or made before all is.
	overflow bool
}

// open tells whether MiniPods may be created and dropped: nothing is decided, and nobody deletes the MiniJob.
func (p *planner) open() bool {
	return p.verdict == nil && !p.overflow && p.Job.DeletionTimestamp == nil
}

// spec is that of a MiniJob with the defaults of batch/v1.
type spec struct {
	parallelism, completions, backoffLimit int
	// queue: no completions are given, and one MiniPod that ends well is enough.
	queue, indexed, suspended bool
	// perIndex is backoffLimitPerIndex; -1 where there is none.
	perIndex int
	// late: a MiniPod is replaced when it has ended, and not when it is being deleted.
	late bool
}

func specOf(job *miniv1.MiniJob) spec {
	s := spec{parallelism: 1, completions: 1, backoffLimit: 6, perIndex: -1}
	in := &job.Spec
	s.indexed = in.CompletionMode == batchv1.IndexedCompletion
	s.suspended = in.Suspend != nil && *in.Suspend
	s.queue = in.Completions == nil && in.Parallelism != nil
	s.late = in.PodFailurePolicy != nil || in.PodReplacementPolicy != nil && *in.PodReplacementPolicy == batchv1.Failed
	if in.BackoffLimitPerIndex != nil {
		s.perIndex, s.backoffLimit = int(*in.BackoffLimitPerIndex), math.MaxInt32
	}
	for to, from := range map[*int]*int32{&s.parallelism: in.Parallelism, &s.completions: in.Completions, &s.backoffLimit: in.BackoffLimit} {
		if from != nil {
			*to = int(*from)
		}
	}
	return s
}

func (p *planner) wakeAfter(d time.Duration) {
	if d > 0 && (p.Wake == 0 || d < p.Wake) {
		p.Wake = d
	}
}
