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
	s := setter{&after.Conditions, set.Generation, metav1.NewTime(now)}
	s.maybe(failure.Reason != "" && !spec.Mismatch(), miniv1.ConditionReplicaFailure, failure.Reason, failure.Message)
	s.summarize(spec, counts, failure)
	return after
}

// setter sets conditions of one generation at one time.
type setter struct {
	list       *[]metav1.Condition
	generation int64
	now        metav1.Time
}

func (s setter) set(kind string, truth bool, reason, message string) {
	conditions.Set(s.list, metav1.Condition{Type: kind, Status: conditions.Bool(truth), Reason: reason, Message: message,
		ObservedGeneration: s.generation, LastTransitionTime: s.now})
}

// maybe sets a condition that is there only when it is true.
func (s setter) maybe(truth bool, kind, reason, message string) {
	if !truth {
		conditions.Remove(s.list, kind)
		return
	}
	s.set(kind, true, reason, message)
}

// summarize sets Ready, Reconciling and Stalled, of which exactly one is true.
func (s setter) summarize(spec Spec, counts Counts, failure conditions.Failure) {
	ready := counts.Replicas == spec.Replicas && counts.Available == spec.Replicas && !failure.Final
	reason := miniv1.ReasonReplicasReady
	if !ready {
		reason = miniv1.ReasonReplicasNotReady
	}
	message := fmt.Sprintf("%d of %d MiniPods are available.", counts.Available, spec.Replicas)
	s.set(miniv1.ConditionReady, ready, reason, message)
	s.maybe(failure.Final, miniv1.ConditionStalled, failure.Reason, failure.Message)
	if failure.Reason != "" {
		reason, message = failure.Reason, failure.Message
	}
	s.maybe(!ready && !failure.Final, miniv1.ConditionReconciling, reason, message)
}

func mismatch(spec Spec) string {
	if spec.Unreadable != nil {
		return fmt.Sprintf("selector cannot be read, so no MiniPod is created: %v. It cannot be changed; "+
			"delete this object and create it anew with a correct selector.", spec.Unreadable)
	}
	return fmt.Sprintf("selector %q does not match the labels of the template, so no MiniPod is created. "+
		"Add the missing labels to spec.template.metadata.labels; the selector itself cannot be changed.", spec.Selector)
}
