package daemonplan_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
)

func TestFirstRevision(t *testing.T) {
	set := newSet(func(set *miniv1.MiniDaemonSet) {
		set.Annotations = map[string]string{"kubernetes.io/change-cause": "first", corev1.LastAppliedConfigAnnotation: "{}"}
		set.Name = strings.Repeat("n", 253)
	})
	plan := daemonplan.Make(daemonplan.Observed{Set: set, Now: start})
	r := plan.Revisions.Create
	if r == nil || r.Revision != 1 || len(r.Name) > 253 || !strings.HasSuffix(r.Name, "-"+plan.Revisions.Hash) {
		t.Fatalf("%+v", r)
	}
	if r.Labels["app"] != "web" || r.Labels[appsv1.ControllerRevisionHashLabelKey] != plan.Revisions.Hash || r.Labels[miniv1.RevisionLabel] != "MiniDaemonSet" {
		t.Errorf("labels %v", r.Labels)
	}
	if len(r.Annotations) != 1 || r.Annotations["kubernetes.io/change-cause"] != "first" || !metav1.IsControlledBy(r, set) {
		t.Errorf("annotations %v, owners %v", r.Annotations, r.OwnerReferences)
	}
	if want := `{"spec":{"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":"v2"`; !strings.HasPrefix(string(r.Data.Raw), want) {
		t.Errorf("data %s", r.Data.Raw)
	}
	set.Status.CollisionCount = new(int32)
	if other := daemonplan.Make(daemonplan.Observed{Set: set, Now: start}).Revisions; other.Hash == plan.Revisions.Hash {
		t.Error("a collision changes nothing")
	}
}

// The same template is the same revision, whoever wrote it down how, and whatever became of its labels.
func TestSameRevision(t *testing.T) {
	for name, change := range map[string]func(*appsv1.ControllerRevision){
		"as it was":             func(*appsv1.ControllerRevision) {},
		"written otherwise":     func(r *appsv1.ControllerRevision) { r.Data.Raw = []byte(" " + string(r.Data.Raw)) },
		"without its hash":      func(r *appsv1.ControllerRevision) { delete(r.Labels, appsv1.ControllerRevisionHashLabelKey) },
		"without other labels":  func(r *appsv1.ControllerRevision) { delete(r.Labels, "app") },
		"of nobody":             func(r *appsv1.ControllerRevision) { r.OwnerReferences = nil },
		"with a number too big": func(r *appsv1.ControllerRevision) { r.Revision = 1 << 60 },
	} {
		seen := observe(newSet(), "a=N")
		hash := seen.Revisions[1].Labels[appsv1.ControllerRevisionHashLabelKey]
		seen.Revisions = seen.Revisions[1:]
		change(seen.Revisions[0])
		plan := daemonplan.Make(seen)
		if plan.Revisions.Create != nil || plan.Revisions.Hash != hash || len(plan.Revisions.Claims.Release) > 0 || write(plan) != "" {
			t.Errorf("%s: creates %v, hash %s and not %s, does %q", name, plan.Revisions.Create, plan.Revisions.Hash, hash, write(plan))
		}
	}
}

// Two revisions of one template, as a change of the schema may leave behind, are one: nothing is replaced.
func TestTwinRevisions(t *testing.T) {
	seen := observe(newSet(), "a=O b=N")
	seen.Revisions[0].Data.Raw = []byte(" " + string(seen.Revisions[1].Data.Raw))
	plan := daemonplan.Make(seen)
	if write(plan) != "" || plan.Revisions.Hash != seen.Revisions[1].Labels[appsv1.ControllerRevisionHashLabelKey] {
		t.Errorf("does %q", write(plan))
	}
}

// A template that comes back gets the next number, and its MiniPods are current again.
func TestRollback(t *testing.T) {
	seen := observe(newSet(func(set *miniv1.MiniDaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "v1" }), "a=O b=N")
	plan := daemonplan.Make(seen)
	if r := plan.Revisions.Renumber; r != seen.Revisions[0] || plan.Revisions.Number != 3 || write(plan) != "-b0N" {
		t.Errorf("renumbers %v to %d, does %q", r, plan.Revisions.Number, write(plan))
	}
	// A revision that is being deleted cannot come back.
	seen.Revisions[0].DeletionTimestamp = &metav1.Time{Time: start}
	if plan := daemonplan.Make(seen); plan.Revisions.Create == nil {
		t.Error("a revision that is being deleted is used")
	}
}

func TestTrim(t *testing.T) {
	many := []*appsv1.ControllerRevision{revisionOf("v1", 1), revisionOf("v5", 2), revisionOf("v3", 3), revisionOf("v4", 4), revisionOf("v2", 5)}
	for _, tc := range []struct {
		limit int32
		want  []int64
	}{{10, nil}, {4, nil}, {3, []int64{2}}, {2, []int64{2, 3}}, {0, []int64{2, 3, 4}}} {
		seen := observe(newSet(func(set *miniv1.MiniDaemonSet) { set.Spec.RevisionHistoryLimit = &tc.limit }), "a=O b=N")
		seen.Revisions = slices.Clone(many)
		var got []int64
		for _, r := range daemonplan.Make(seen).Revisions.Trim {
			got = append(got, r.Revision)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("limit %d: deletes %v, want %v; number 1 is in use and 5 current", tc.limit, got, tc.want)
		}
	}
}
