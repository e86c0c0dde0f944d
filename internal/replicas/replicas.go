// Package replicas decides what a MiniReplicaSet should do next: how many MiniPods to create, which to delete, which to
// adopt or release, what its status counts are, and when to look again.
//
// The algorithm: sort the observed MiniPods into mine and not mine; of mine, count those that are neither ending nor ended;
// create what is missing, or delete what is too many, beginning with those that are missed least. Nothing is remembered
// from one plan to the next. What makes it hard: deleting must cost as little service as possible, so the order of the
// victims (see victims.go) matters more than their number; and a replica becomes available by the mere passing of time,
// so a plan also says when to plan again.
package replicas

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/claim"
	"miniplane.dev/miniplane/internal/podstate"
)

// Spec is what is wanted.
type Spec struct {
	// Owner is the MiniReplicaSet; its UID and deletion time are used.
	Owner metav1.Object
	// Replicas is how many MiniPods there should be.
	Replicas int
	// MinReady is how long a MiniPod must be ready before it counts as available.
	MinReady time.Duration
	// Selector finds the MiniPods.
	Selector labels.Selector
	// Unreadable is what is wrong with the selector as it is written; nil when nothing is.
	Unreadable error
	// TemplateLabels are the labels of the template.
	TemplateLabels map[string]string
}

// FromSet takes the Spec out of a MiniReplicaSet. A selector that cannot be read selects nothing, and is a mismatch.
func FromSet(set *miniv1.MiniReplicaSet) Spec {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		selector = labels.Nothing()
	}
	return Spec{
		Owner:          set,
		Replicas:       Wanted(set),
		MinReady:       time.Duration(set.Spec.MinReadySeconds) * time.Second,
		Selector:       selector,
		Unreadable:     err,
		TemplateLabels: set.Spec.Template.Metadata.Labels,
	}
}

// Mismatch tells whether the MiniPods that the template makes would not be found by the selector.
func (s Spec) Mismatch() bool { return !s.Selector.Matches(labels.Set(s.TemplateLabels)) }

// Wanted is the wanted number of replicas of a set, 1 when not given.
func Wanted(set *miniv1.MiniReplicaSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

// Counts are the numbers of a MiniReplicaSet's status.
type Counts struct {
	// Replicas exist and are neither ending nor ended.
	Replicas int
	// FullyLabeled of them have all labels of the template, Ready can serve, Available have been ready for MinReady.
	FullyLabeled, Ready, Available int
}

// Plan is what to do next. One that creates, deletes, adopts and releases nothing is done.
type Plan struct {
	// Claims says which MiniPods to adopt and to release.
	Claims claim.Claims[*miniv1.MiniPod]
	// Active are the replicas: those that belong to the set, or will after adoption, and are neither ending nor ended.
	Active []*miniv1.MiniPod
	// Create is how many MiniPods to create.
	Create int
	// Delete are the MiniPods to delete, in this order.
	Delete []*miniv1.MiniPod
}

// Make plans for the observed MiniPods: all that carry the owner's reference or match its selector. Related are the
// MiniPods of sibling sets, those of one MiniDeployment; they only weigh on which nodes are crowded. The plan of an owner
// that is being deleted, or whose template does not match its selector, neither creates nor deletes.
func Make(spec Spec, pods, related []*miniv1.MiniPod) Plan {
	plan := Plan{Claims: claim.Sort(spec.Owner, spec.Selector, pods)}
	plan.Claims.Adopt = slices.DeleteFunc(plan.Claims.Adopt, podstate.IsFinished)
	plan.Active = slices.DeleteFunc(slices.Concat(plan.Claims.Mine, plan.Claims.Adopt), func(pod *miniv1.MiniPod) bool {
		return !podstate.IsActive(pod)
	})
	if spec.Owner.GetDeletionTimestamp() != nil || spec.Mismatch() {
		return plan
	}
	switch surplus := len(plan.Active) - spec.Replicas; {
	case surplus < 0:
		plan.Create = -surplus
	case surplus > 0:
		plan.Delete = Victims(plan.Active, related)[:surplus]
	}
	return plan
}

// Count counts replicas, and says after how long one more of them will be available if nothing happens; 0 when none will.
func Count(spec Spec, active []*miniv1.MiniPod, now time.Time) (Counts, time.Duration) {
	counts := Counts{Replicas: len(active)}
	wake := time.Duration(0)
	for _, pod := range active {
		if hasAll(pod.Labels, spec.TemplateLabels) {
			counts.FullyLabeled++
		}
		if podstate.IsReady(pod) {
			counts.Ready++
		}
		available, wait := podstate.IsAvailable(pod, spec.MinReady, now)
		if available {
			counts.Available++
		}
		if wait > 0 && (wake == 0 || wait < wake) {
			wake = wait
		}
	}
	return counts, wake
}

func hasAll(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}
