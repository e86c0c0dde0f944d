package jobplan

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// verdict is what becomes of a MiniJob: it is complete, or it has failed. It is written down as SuccessCriteriaMet or FailureTarget
// first, and as Complete or Failed when all of its MiniPods have ended.
type verdict struct {
	success         bool
	reason, message string
	// known: it stands in the status already.
	known bool
}

// IsFinished tells whether a MiniJob is complete or has failed.
func IsFinished(job *miniv1.MiniJob) bool {
	return Finishes(&job.Status)
}

func is(list []metav1.Condition, kind string) bool { return meta.IsStatusConditionTrue(list, kind) }

// judge decides what becomes of the MiniJob. What was decided stays; failures go before success. Of one that is being deleted nothing is
// decided any more.
func (p *planner) judge() {
	for _, kind := range []string{miniv1.ConditionSuccessCriteriaMet, miniv1.ConditionFailureTarget} {
		if c := meta.FindStatusCondition(p.Status.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			p.verdict = &verdict{success: kind == miniv1.ConditionSuccessCriteriaMet, reason: c.Reason, message: c.Message, known: true}
			return
		}
	}
	if p.overflow || p.Job.DeletionTimestamp != nil {
		return
	}
	for _, look := range []func() *verdict{p.byFailurePolicy, p.byBackoff, p.byDeadline, p.byIndexes, p.bySuccessPolicy, p.byCompletions} {
		if p.verdict = look(); p.verdict != nil {
			return
		}
	}
}

func failure(reason, message string) *verdict { return &verdict{reason: reason, message: message} }

func (p *planner) byFailurePolicy() *verdict {
	if p.Job.Spec.PodFailurePolicy == nil {
		return nil
	}
	for _, pod := range p.Pods {
		if !p.hasFailed(pod) {
			continue
		}
		if why := p.meaning(pod).failsJob; why != "" {
			return failure(miniv1.ReasonPodFailurePolicy, why)
		}
	}
	return nil
}

func (p *planner) byBackoff() *verdict {
	if p.failed > p.spec.backoffLimit || p.restartedTooOften() {
		return failure(miniv1.ReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	}
	return nil
}

// restartedTooOften tells whether containers were started again as often as MiniPods may fail, where failures are restarts.
func (p *planner) restartedTooOften() bool {
	if p.Job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	restarts := 0
	for _, pod := range p.Pods {
		if podstate.IsFinished(pod) {
			continue
		}
		for _, list := range [][]miniv1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range list {
				restarts += int(list[i].RestartCount)
			}
		}
	}
	return restarts >= max(p.spec.backoffLimit, 1)
}

func (p *planner) byDeadline() *verdict {
	limit := p.Job.Spec.ActiveDeadlineSeconds
	if limit == nil || p.Status.StartTime == nil || p.spec.suspended {
		return nil
	}
	left := p.Status.StartTime.Add(seconds(*limit)).Sub(p.Now)
	if left <= 0 {
		return failure(miniv1.ReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	p.wakeAfter(left)
	return nil
}

// seconds are as many as a time can hold: who wants no end of it writes more.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Second))) * time.Second
}

func (p *planner) byIndexes() *verdict {
	lost := p.given.Count()
	limit := p.Job.Spec.MaxFailedIndexes
	switch {
	case lost == 0:
		return nil
	case limit != nil && lost > int(*limit):
		return failure(miniv1.ReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case lost+p.done.Count() >= p.spec.completions:
		return failure(miniv1.ReasonFailedIndexes, "Job has failed indexes")
	}
	return nil
}

func (p *planner) bySuccessPolicy() *verdict {
	if why := enough(p.Job.Spec.SuccessPolicy, p.done, p.spec.completions); why != "" {
		return &verdict{success: true, reason: miniv1.ReasonSuccessPolicy, message: why}
	}
	return nil
}

func (p *planner) byCompletions() *verdict {
	need := p.spec.completions
	if p.spec.queue {
		need = 1
	}
	if p.succeeded < need || len(p.pods.active) > 0 {
		return nil
	}
	return &verdict{success: true, reason: miniv1.ReasonCompletionsReached, message: "Reached expected number of succeeded pods"}
}
