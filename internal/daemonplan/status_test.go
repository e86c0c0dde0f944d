package daemonplan_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonplan"
)

// counts are desired, current, misscheduled, ready, available, updated, unavailable.
func counts(s miniv1.MiniDaemonSetStatus) [7]int32 {
	return [7]int32{s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled, s.NumberReady, s.NumberAvailable,
		s.UpdatedNumberScheduled, s.NumberUnavailable}
}

func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		name  string
		set   *miniv1.MiniDaemonSet
		seen  string
		want  [7]int32
		ready bool
		wake  time.Duration
	}{
		{"no nodes", newSet(), "", [7]int32{}, true, 0},
		{"nothing there yet", newSet(), "a b", [7]int32{2, 0, 0, 0, 0, 0, 2}, false, 0},
		{"all there", newSet(), "a=N b=N", [7]int32{2, 2, 0, 2, 2, 2, 0}, true, 0},
		{"waiting for room is there", newSet(), "a=p b=N", [7]int32{2, 2, 0, 1, 1, 2, 1}, false, 0},
		{"ready for a moment", newSet(), "a=q b=N", [7]int32{2, 2, 0, 2, 1, 2, 1}, false, 7 * time.Second},
		{"old ones", newSet(onDelete), "a=O b=N", [7]int32{2, 2, 0, 2, 2, 1, 0}, true, 0},
		{"two on one node count once, by the better", newSet(rolling("1", "0")), "a=On b=N", [7]int32{2, 2, 0, 2, 2, 1, 0}, false, 0},
		{"one that is ending is there, and serves no more", newSet(), "a=e b=E", [7]int32{2, 2, 0, 0, 0, 0, 2}, false, 0},
		{"one that failed is there until it is deleted", newSet(), "a=D b=N", [7]int32{2, 1, 0, 1, 1, 1, 1}, false, 0},
		{"where none should be", newSet(), "~a=N ~b !c=e d=N", [7]int32{1, 1, 2, 1, 1, 1, 0}, true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := daemonplan.Make(observe(tc.set, tc.seen))
			got, wake := plan.Status(tc.set, daemonplan.Done{}, start)
			if counts(got) != tc.want || wake != tc.wake {
				t.Errorf("%s: got %v, outdated after %v; want %v, %v", tc.seen, counts(got), wake, tc.want, tc.wake)
			}
			if is := meta.IsStatusConditionTrue(got.Conditions, miniv1.ConditionReady); is != tc.ready {
				t.Errorf("ready %t", is)
			}
			if is := meta.IsStatusConditionTrue(got.Conditions, miniv1.ConditionReconciling); is == tc.ready || got.ObservedGeneration != 1 {
				t.Errorf("reconciling %t of generation %d", is, got.ObservedGeneration)
			}
		})
	}
}

// The status is of what there is after the plan was carried out.
func TestStatusAfter(t *testing.T) {
	set := newSet()
	seen := observe(set, "a=O b=N c")
	plan := daemonplan.Make(seen)
	created := podOf(set, "c", "c0", 'p', seen.Revisions[0], seen.Revisions[1])
	if got := write(plan); got != "+c" {
		t.Fatal(got)
	}
	got, _ := plan.Status(set, daemonplan.Done{Created: []*miniv1.MiniPod{created}}, start)
	if want := [7]int32{3, 3, 0, 2, 2, 2, 1}; counts(got) != want {
		t.Errorf("created: %v, want %v", counts(got), want)
	}
	seen = observe(set, "a=O b=N")
	plan = daemonplan.Make(seen)
	deleted := sets.New[types.UID](plan.Delete[0].Pod.UID)
	if got, _ := plan.Status(set, daemonplan.Done{Deleted: deleted}, start); counts(got) != [7]int32{2, 2, 0, 1, 1, 1, 1} {
		t.Errorf("deleted: %v", counts(got))
	}
	if got, _ := plan.Status(set, daemonplan.Done{}, start); counts(got) != [7]int32{2, 2, 0, 2, 2, 1, 0} {
		t.Errorf("not deleted: %v", counts(got))
	}
}

func TestStatusOfFailures(t *testing.T) {
	set := newSet()
	plan := daemonplan.Make(observe(set, "a"))
	one := int32(1)
	got, _ := plan.Status(set, daemonplan.Done{Failure: conditions.Failure{Reason: miniv1.ReasonFailedCreate, Message: "no"}, Collisions: &one}, start)
	if c := meta.FindStatusCondition(got.Conditions, miniv1.ConditionReplicaFailure); c == nil || c.Message != "no" || *got.CollisionCount != 1 {
		t.Errorf("%+v", got)
	}
	set = newSet(func(set *miniv1.MiniDaemonSet) { set.Spec.Template.Metadata.Labels = nil })
	got, _ = daemonplan.Make(observe(set, "a")).Status(set, daemonplan.Done{}, start)
	if c := meta.FindStatusCondition(got.Conditions, miniv1.ConditionStalled); c == nil || c.Reason != miniv1.ReasonSelectorMismatch {
		t.Errorf("%+v", got.Conditions)
	}
}
