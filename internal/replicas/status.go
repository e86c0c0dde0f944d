package replicas

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// Status makes the status of a set that follows the one it has. Counts are those after the plan was carried out.
func Status(set *miniv1.MiniReplicaSet, spec Spec, counts Counts, failure conditions.Failure, now time.Time) miniv1.MiniReplicaSetStatus {
	after := *set.Status.DeepCopy()
	after.ObservedGeneration = set.Generation
	after.Replicas = int32(counts.Replicas)
	after.FullyLabeledReplicas = int32(counts.FullyLabeled)
	after.ReadyReplicas = int32(counts.Ready)
	after.AvailableReplicas = int32(counts.Available)
	after.Selector = spec.Selector.String()
	if spec.Mismatch() {
		failure = conditions.Failure{Final: true, Reason: miniv1.ReasonSelectorMismatch, Message: mismatch(spec)}
	}
	s := conditions.Setter{List: &after.Conditions, Generation: set.Generation, Now: metav1.NewTime(now)}
	s.Maybe(failure.Reason != "" && !spec.Mismatch(), miniv1.ConditionReplicaFailure, failure.Reason, failure.Message)
	summarize(s, spec, counts, failure)
	return after
}

// summarize sets Ready, Reconciling and Stalled, of which exactly one is true.
func summarize(s conditions.Setter, spec Spec, counts Counts, failure conditions.Failure) {
	ready := counts.Replicas == spec.Replicas && counts.Available == spec.Replicas && !failure.Final
	reason := miniv1.ReasonReplicasReady
	if !ready {
		reason = miniv1.ReasonReplicasNotReady
	}
	message := fmt.Sprintf("%d of %d MiniPods are available.", counts.Available, spec.Replicas)
	s.Set(miniv1.ConditionReady, ready, reason, message)
	s.Maybe(failure.Final, miniv1.ConditionStalled, failure.Reason, failure.Message)
	if failure.Reason != "" {
		reason, message = failure.Reason, failure.Message
	}
	s.Maybe(!ready && !failure.Final, miniv1.ConditionReconciling, reason, message)
}

func mismatch(spec Spec) string {
	if spec.Unreadable != nil {
		return fmt.Sprintf("selector cannot be read, so no MiniPod is created: %v. It cannot be changed; "+
			"delete this object and create it anew with a correct selector.", spec.Unreadable)
	}
	return fmt.Sprintf("selector %q does not match the labels of the template, so no MiniPod is created. "+
		"Add the missing labels to spec.template.metadata.labels; the selector itself cannot be changed.", spec.Selector)
}
