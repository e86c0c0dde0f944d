package job

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// report tells, once the status is stored, what is new in it, in native words. There are no Events of single MiniPods.
func (r *Reconciler) report(before, after *miniv1.MiniJob, failure conditions.Failure) {
	became := func(kind string) *metav1.Condition {
		is, was := meta.FindStatusCondition(after.Status.Conditions, kind), meta.FindStatusCondition(before.Status.Conditions, kind)
		if is == nil || was != nil && was.Status == is.Status {
			return nil
		}
		return is
	}
	tell := func(level, reason, action, note string) {
		r.events.Eventf(after, nil, level, reason, action, "%s", conditions.Note(note))
	}
	if c := became(miniv1.ConditionSuspended); c != nil && c.Status == metav1.ConditionTrue {
		tell(corev1.EventTypeNormal, "Suspended", "Suspend", "Job suspended")
	} else if c != nil {
		tell(corev1.EventTypeNormal, "Resumed", "Resume", "Job resumed")
	}
	if became(miniv1.ConditionComplete) != nil {
		if n := after.Spec.Completions; n != nil && after.Status.Succeeded > *n {
			tell(corev1.EventTypeWarning, "TooManySucceededPods", "Complete", "Too many succeeded pods running after completion count reached")
		}
		tell(corev1.EventTypeNormal, "Completed", "Complete", "Job completed")
	}
	if c := became(miniv1.ConditionFailed); c != nil {
		tell(corev1.EventTypeWarning, c.Reason, "Fail", c.Message)
	}
	if failure.Reason != "" && !told(before, failure.Reason) {
		tell(corev1.EventTypeWarning, failure.Reason, "ManageMiniPods", failure.Message)
	}
}

// told tells whether a status says already that MiniPods could not be created or deleted.
func told(job *miniv1.MiniJob, reason string) bool {
	for _, kind := range []string{miniv1.ConditionReconciling, miniv1.ConditionStalled} {
		if c := meta.FindStatusCondition(job.Status.Conditions, kind); c != nil && c.Reason == reason {
			return true
		}
	}
	return false
}
