package jobplan

import (
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// noIndex is the index of a MiniPod that has none.
const noIndex = -1

// pods are the MiniPods of a MiniJob by what they are to it.
type pods struct {
	// tracked have the finalizer, and so count or will.
	tracked []*miniv1.MiniPod
	// active of them wait or run, strays do so without the finalizer: somebody took it off, or a manager died while it
	// dropped them.
	active, strays []*miniv1.MiniPod
	// kept have ended and are counted.
	kept []*miniv1.MiniPod
	// byUID has the tracked ones.
	byUID map[types.UID]*miniv1.MiniPod
}

func (p *planner) sort() {
	p.pods.byUID, p.terminating = map[types.UID]*miniv1.MiniPod{}, sets.New[types.UID]()
	for _, pod := range p.Pods {
		tracked := holds(pod, p.Released)
		if tracked {
			p.pods.tracked = append(p.pods.tracked, pod)
			p.pods.byUID[pod.UID] = pod
		}
		switch {
		case podstate.IsActive(pod) && tracked:
			p.pods.active = append(p.pods.active, pod)
		case podstate.IsActive(pod):
			p.pods.strays = append(p.pods.strays, pod)
		case !Ended(pod):
			p.terminating.Insert(pod.UID)
		case !tracked && !podstate.IsDeleting(pod):
			p.pods.kept = append(p.pods.kept, pod)
		}
	}
}

// holds tells whether a MiniPod has the finalizer, as far as is known.
func holds(pod *miniv1.MiniPod, released sets.Set[types.UID]) bool {
	return slices.Contains(pod.Finalizers, miniv1.JobFinalizer) && !released.Has(pod.UID)
}

// Ended tells whether nothing of a MiniPod runs any more, or ever will: its phase says so, or it is being deleted and its agent
// has proven that nothing is left, or it never had one.
func Ended(pod *miniv1.MiniPod) bool {
	return podstate.IsFinished(pod) || podstate.IsDeleting(pod) && !podstate.MayBeThere(pod)
}

func succeeded(pod *miniv1.MiniPod) bool { return pod.Status.Phase == miniv1.PodSucceeded }

// hasFailed tells whether a MiniPod counts as failed. One that is being deleted does at once, unless it is replaced only when it
// has ended: it may never get so far as to say how.
func (p *planner) hasFailed(pod *miniv1.MiniPod) bool {
	if succeeded(pod) {
		return false
	}
	return Ended(pod) || podstate.IsDeleting(pod) && !p.spec.late
}

// indexOf is the completion index of a MiniPod; noIndex where there is none, or none that the MiniJob has.
func (p *planner) indexOf(pod *miniv1.MiniPod) int {
	index := number(pod, batchv1.JobCompletionIndexAnnotation, noIndex)
	if index >= p.spec.completions {
		return noIndex
	}
	return index
}

// counts tells whether a MiniPod can be counted at all: in an Indexed MiniJob it needs an index.
func (p *planner) counts(pod *miniv1.MiniPod) bool {
	return !p.spec.indexed || p.indexOf(pod) != noIndex
}

// number reads an annotation; the default where it is not there, or no number.
func number(pod *miniv1.MiniPod, annotation string, otherwise int) int {
	n, err := strconv.ParseInt(pod.Annotations[annotation], 10, 32)
	if err != nil || n < 0 {
		return otherwise
	}
	return int(n)
}

// endedAt is when a MiniPod ended, as well as can be known.
func endedAt(pod *miniv1.MiniPod) time.Time {
	var last time.Time
	all := slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses)
	for i := range all {
		if end := all[i].State.Terminated; end != nil && end.FinishedAt.After(last) {
			last = end.FinishedAt.Time
		}
	}
	ready := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionReady)
	switch {
	case !last.IsZero():
		return last
	case ready != nil && ready.Status == metav1.ConditionFalse:
		return ready.LastTransitionTime.Time
	case pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil:
		return pod.DeletionTimestamp.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	case pod.DeletionTimestamp != nil:
		return pod.DeletionTimestamp.Time
	}
	return pod.CreationTimestamp.Time
}
