package scheduling

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// park says in the MiniPod's status why it waits, and then lets it wait. In this order, so that nothing else is written
// about the MiniPod meanwhile; what happens meanwhile is seen by Park. It reports whether there was an answer.
func (s *Scheduler) park(ctx context.Context, pod *framework.Pod, why outcome) (answered bool) {
	if why.reason == miniv1.ReasonPodSecurityUnknown {
		refusal := s.relook(ctx, pod)
		if refusal == nil {
			s.queue.Park(pod.UID, why.wait) // and is tried again at once, since what it waited for has come
			return true
		}
		why = notAllowed(refusal)
	}
	err := s.tryToWrite(ctx, s.client, func(reader client.Reader) error { return s.writePending(ctx, reader, pod, why) })
	switch {
	case err == nil:
		s.queue.Park(pod.UID, why.wait)
	case ctx.Err() != nil:
	case errors.Is(err, errMoot):
		s.queue.Delete(pod.UID)
		s.lookAgain(ctx, pod)
	default:
		ctrl.LoggerFrom(ctx).Error(err, "writing why a MiniPod waits failed, will try again", "minipod", pod.NamespacedName)
		attempts.WithLabelValues(resultError).Inc()
		s.queue.Backoff(pod.UID)
	}
	return !errors.Is(err, errUnknown)
}

// writePending writes the condition, if it is not there already. An Event follows when the reason is another than before.
func (s *Scheduler) writePending(ctx context.Context, reader client.Reader, pod *framework.Pod, why outcome) error {
	obj, err := s.read(ctx, reader, pod)
	if err != nil {
		return err
	}
	if podstate.IsBound(obj) || podstate.IsDeleting(obj) || podstate.IsFinished(obj) {
		return errMoot
	}
	before := obj.DeepCopy()
	s.setPending(obj, "Pending", metav1.Condition{Type: miniv1.ConditionPodScheduled, Status: metav1.ConditionFalse,
		Reason: why.reason, Message: why.message})
	old := meta.FindStatusCondition(before.Status.Conditions, miniv1.ConditionPodScheduled)
	if old != nil && old.Status == metav1.ConditionFalse && old.Reason == why.reason && old.Message == why.message {
		return nil
	}
	if err := s.client.Status().Patch(ctx, obj, ifUnchanged(before)); err != nil {
		return mootIfGone(err)
	}
	if old == nil || old.Reason != why.reason {
		s.warn(obj, "FailedScheduling", "Scheduling", why.message)
	}
	return nil
}

// warn records an Event about a MiniPod.
func (s *Scheduler) warn(obj *miniv1.MiniPod, reason, action, note string) {
	s.recorder.Eventf(obj, nil, corev1.EventTypeWarning, reason, action, "%s", conditions.Note(note))
}
