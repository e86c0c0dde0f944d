package scheduling

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// errMoot says that there is nothing to write any more: the MiniPod is gone, being deleted, or bound.
var errMoot = errors.New("the MiniPod is gone, being deleted, or bound by now")

// errDone says that the binding stands already: an earlier answer was lost.
var errDone = errors.New("bound already")

// errUnknown says that the API server gave no answer that tells whether something was written.
var errUnknown = errors.New("it is not known whether it was written")

// A write without an answer is repeated so often, after waits that double from the first; what then still has none goes back to
// the queue.
const (
	firstRetry = 50 * time.Millisecond
	quickTries = 4
)

// bind writes a decision that was assumed, and confirms it or takes it back. Where neither can be said, the MiniPod stays charged and is
// doubtful, and is written again after a while. It reports whether there was an answer.
func (s *Scheduler) bind(ctx context.Context, reader client.Reader, pod *framework.Pod, node string) (answered bool) {
	start := time.Now()
	err := s.tryToWrite(ctx, reader, func(reader client.Reader) error { return s.writeBinding(ctx, reader, pod, node, start) })
	switch {
	case err == nil || errors.Is(err, errDone):
		s.cache.Confirm(pod.UID)
		s.queue.Delete(pod.UID)
		bindSeconds.Observe(time.Since(start).Seconds())
	case ctx.Err() != nil:
		// The end of this process: its successor reads from the API what was written.
	case errors.Is(err, errUnknown):
		s.doubt(ctx, pod, node, err)
		return false
	case errors.Is(err, errMoot):
		s.forget(pod)
		s.queue.Delete(pod.UID)
		s.lookAgain(ctx, pod)
	default:
		ctrl.LoggerFrom(ctx).Error(err, "binding failed, will try again", "minipod", pod.NamespacedName, "node", node)
		attempts.WithLabelValues(resultError).Inc()
		s.forget(pod)
		s.queue.Backoff(pod.UID)
	}
	return true
}

// doubt keeps the charge of a MiniPod whose binding may have been written or not, and says once why it does not go on.
func (s *Scheduler) doubt(ctx context.Context, pod *framework.Pod, node string, why error) {
	attempts.WithLabelValues(resultUnknown).Inc()
	if s.cache.Doubt(pod.UID) {
		ctrl.LoggerFrom(ctx).Error(why, "binding a MiniPod, again and again until there is an answer", "minipod", pod.NamespacedName, "node", node)
		s.warn(&miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}, "BindingUnknown", "Binding",
			fmt.Sprintf("chosen: node %s; written again and again until the API server says whether it was written: %v", node, why))
	}
	s.queue.Backoff(pod.UID)
}

// tryToWrite writes until the outcome is certain (written, moot, or refused) or the quick tries are used up. The first trusts the
// reader, those after a conflict or a lost answer read the live object.
func (s *Scheduler) tryToWrite(ctx context.Context, reader client.Reader, write func(client.Reader) error) error {
	conflicts := 0
	for try := 1; ; try++ {
		err := write(reader)
		if err == nil || errors.Is(err, errMoot) || errors.Is(err, errDone) || refused(err) {
			return err
		}
		reader = s.live
		if apierrors.IsConflict(err) && conflicts == 0 {
			conflicts++
			continue
		}
		if try >= quickTries {
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(firstRetry << (try - 1)):
		}
	}
}

// refused tells whether the API server understood the request and will not do it, so that it surely was not done.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// writeBinding gives a MiniPod without a controller the agent's finalizer, and then the node that was chosen.
func (s *Scheduler) writeBinding(ctx context.Context, reader client.Reader, pod *framework.Pod, node string, chosen time.Time) error {
	obj, err := s.read(ctx, reader, pod)
	if err != nil {
		return err
	}
	if podstate.IsBound(obj) && obj.Status.NodeName == node {
		return errDone
	}
	if podstate.IsBound(obj) || podstate.IsDeleting(obj) || podstate.IsFinished(obj) {
		return errMoot
	}
	secrets, err := s.accountsPullSecrets(ctx, obj)
	if err != nil {
		return err
	}
	if !controllerutil.ContainsFinalizer(obj, miniv1.AgentFinalizer) {
		before := obj.DeepCopy()
		controllerutil.AddFinalizer(obj, miniv1.AgentFinalizer)
		if err := s.client.Patch(ctx, obj, ifUnchanged(before)); err != nil {
			return mootIfGone(err)
		}
	}
	before := obj.DeepCopy()
	obj.Status.NodeName, obj.Status.ImagePullSecrets = node, secrets
	obj.Status.StartTimeline = &miniv1.StartTimeline{QueuedTime: microTime(pod.Queued), ScheduledTime: microTime(chosen)}
	s.setPending(obj, firstSummary(&obj.Spec), metav1.Condition{Type: miniv1.ConditionPodScheduled, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonScheduled, Message: "bound to node " + node})
	return mootIfGone(s.client.Status().Patch(ctx, obj, ifUnchanged(before)))
}

// microTime is a time as the API server stores it.
func microTime(t time.Time) *metav1.MicroTime {
	return new(metav1.NewMicroTime(t.Truncate(time.Microsecond)))
}

// read gets the MiniPod; one of the same name but another UID is not it.
func (s *Scheduler) read(ctx context.Context, reader client.Reader, pod *framework.Pod) (*miniv1.MiniPod, error) {
	obj := &miniv1.MiniPod{}
	if err := reader.Get(ctx, pod.NamespacedName, obj); err != nil {
		return nil, mootIfGone(err)
	}
	if obj.UID != pod.UID {
		return nil, errMoot
	}
	return obj, nil
}

// setPending fills in the status that the scheduler owns.
func (s *Scheduler) setPending(obj *miniv1.MiniPod, summary string, condition metav1.Condition) {
	condition.ObservedGeneration = obj.Generation
	obj.Status.ObservedGeneration = obj.Generation
	obj.Status.Phase = miniv1.PodPending
	obj.Status.Summary = summary
	obj.Status.ReadyContainers = fmt.Sprintf("0/%d", wantedReady(&obj.Spec))
	conditions.Set(&obj.Status.Conditions, condition)
}

// firstSummary is what a MiniPod shows from its binding on until its agent has something to tell.
func firstSummary(spec *miniv1.MiniPodSpec) string {
	before := 0
	for kind := range spec.AllContainers() {
		if kind != miniv1.ContainerMain {
			before++
		}
	}
	if before == 0 {
		return miniv1.ReasonContainerCreating
	}
	return fmt.Sprintf("Init:0/%d", before)
}

// wantedReady is how many containers are to be ready: an init container is at its end by then.
func wantedReady(spec *miniv1.MiniPodSpec) (count int) {
	for kind := range spec.AllContainers() {
		if kind.Lasts() {
			count++
		}
	}
	return count
}

// forget takes an assumption back and tells those who wait for the room.
func (s *Scheduler) forget(pod *framework.Pod) {
	s.charging.Lock()
	held := s.cache.Pod(pod.UID)
	node, _ := s.cache.Holds(pod.UID)
	forgotten := s.cache.Forget(pod.UID)
	if forgotten {
		s.ledger.Release(pod.UID)
	}
	s.charging.Unlock()
	if !forgotten {
		return // bound after all, or gone and released already
	}
	s.nodeChanged(node)
	s.othersChanged(held, nil)
	s.quotaChanged(pod.Namespace)
}

// lookAgain takes what the API says of a MiniPod whose binding failed.
func (s *Scheduler) lookAgain(ctx context.Context, pod *framework.Pod) {
	obj := &miniv1.MiniPod{}
	err := s.live.Get(ctx, pod.NamespacedName, obj)
	switch {
	case apierrors.IsNotFound(err) || err == nil && obj.UID != pod.UID:
		s.queue.Delete(pod.UID)
		s.release(pod.UID, pod.Namespace)
	case err == nil:
		s.podSeen(obj)
	default: // try again later; its next attempt ends here or better
		s.queue.Add(pod)
	}
}

// ifUnchanged is the difference to before, to be written only if nobody else wrote since.
func ifUnchanged(before client.Object) client.Patch {
	return client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
}

func mootIfGone(err error) error {
	if apierrors.IsNotFound(err) {
		return errMoot
	}
	return err
}
