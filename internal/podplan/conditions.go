package podplan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// setConditions says whether the MiniPod is initialized and can serve. PodScheduled and others that are not the agent's stay as they are.
func setConditions(pod *miniv1.MiniPod, r row, status *miniv1.MiniPodStatus, now time.Time) {
	setInitialized(pod, r, status, now)
	condition := metav1.Condition{
		Status:             metav1.ConditionTrue,
		Reason:             miniv1.ReasonContainersReady,
		ObservedGeneration: pod.Generation,
		LastTransitionTime: *seconds(now),
	}
	switch unready := unreadyNames(r, status); {
	case status.Phase == miniv1.PodSucceeded:
		condition.Status, condition.Reason = metav1.ConditionFalse, miniv1.ReasonPodCompleted
	case status.Phase == miniv1.PodFailed:
		condition.Status, condition.Reason = metav1.ConditionFalse, miniv1.ReasonPodFailed
	case len(unready) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, miniv1.ReasonContainersNotReady
		condition.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	for _, name := range []string{miniv1.ConditionContainersReady, miniv1.ConditionReady} {
		condition.Type = name
		conditions.Set(&status.Conditions, condition)
	}
}

// unreadyNames are those of sidecars and main containers.
func unreadyNames(r row, status *miniv1.MiniPodStatus) []string {
	var names []string
	for i, c := range status.InitContainerStatuses {
		if r[i].kind.Lasts() && !c.Ready {
			names = append(names, c.Name)
		}
	}
	for _, c := range status.ContainerStatuses {
		if !c.Ready {
			names = append(names, c.Name)
		}
	}
	return names
}

// setInitialized says whether all init containers are passed. Once a main container has started they are for ever.
func setInitialized(pod *miniv1.MiniPod, r row, status *miniv1.MiniPodStatus, now time.Time) {
	condition := metav1.Condition{Type: miniv1.ConditionInitialized, Status: metav1.ConditionTrue, Reason: miniv1.ReasonContainersInitialized,
		ObservedGeneration: pod.Generation, LastTransitionTime: *seconds(now)}
	var incomplete []string
	for i, c := range status.InitContainerStatuses {
		started := c.Started != nil && *c.Started
		if passed := r[i].kind == miniv1.ContainerSidecar && started || r[i].kind == miniv1.ContainerInit && c.Ready; !passed {
			incomplete = append(incomplete, c.Name)
		}
	}
	main := tallyOf(status.ContainerStatuses)
	switch {
	case status.Phase == miniv1.PodSucceeded:
		condition.Reason = miniv1.ReasonPodCompleted
	case main.neverRan < len(status.ContainerStatuses):
	case len(incomplete) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, miniv1.ReasonContainersNotInitialized
		condition.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(incomplete, " "))
	}
	conditions.Set(&status.Conditions, condition)
}

// own tells whether a condition is the agent's.
func own(condition metav1.Condition) bool {
	switch condition.Type {
	case miniv1.ConditionInitialized, miniv1.ConditionReady, miniv1.ConditionContainersReady, miniv1.ConditionAdmitted:
		return true
	}
	return false
}

// KeepForeign takes over what others wrote since the status was made: the binding, what came with it, and all conditions that are not the agent's.
// Those that were taken away since are not among them.
func KeepForeign(status *miniv1.MiniPodStatus, before *miniv1.MiniPod) {
	status.NodeName, status.ImagePullSecrets = before.Status.NodeName, before.Status.ImagePullSecrets
	mine := slices.DeleteFunc(status.Conditions, func(c metav1.Condition) bool { return !own(c) })
	status.Conditions = nil
	for _, condition := range before.Status.Conditions {
		if !own(condition) {
			status.Conditions = append(status.Conditions, condition)
		} else if ours := meta.FindStatusCondition(mine, condition.Type); ours != nil {
			status.Conditions = append(status.Conditions, *ours) // in its place
		}
	}
	for _, condition := range mine {
		if meta.FindStatusCondition(before.Status.Conditions, condition.Type) == nil {
			status.Conditions = append(status.Conditions, condition)
		}
	}
}
