package replicas_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/replicas"
	"miniplane.dev/miniplane/test/builders"
)

var now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func set(n int32) *miniv1.MiniReplicaSet {
	labels := map[string]string{"app": "web"}
	s := &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web", Generation: 3}}
	s.Spec.Replicas = &n
	s.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	s.Spec.Template.Metadata.Labels = map[string]string{"app": "web", "tier": "front"}
	return s
}

// mine is a MiniPod of the set.
func mine(name string) *builders.PodBuilder {
	return builders.Pod("default", name).Labels(map[string]string{"app": "web", "tier": "front"}).With(func(p *miniv1.MiniPod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set(0), miniv1.GroupVersion.WithKind("MiniReplicaSet"))}
		p.CreationTimestamp = metav1.NewTime(now.Add(-time.Hour))
	})
}

func orphan(name string) *builders.PodBuilder {
	return builders.Pod("default", name).Labels(map[string]string{"app": "web"})
}

func names(pods []*miniv1.MiniPod) []string {
	out := []string{}
	for _, pod := range pods {
		out = append(out, pod.Name)
	}
	return out
}

func TestMake(t *testing.T) {
	type todo struct {
		Create                 int
		Delete, Adopt, Release []string
	}
	foreign := orphan("foreign").With(func(p *miniv1.MiniPod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{UID: "other", Controller: &yes}}
	}).Obj()
	relabelled := mine("relabelled").Labels(map[string]string{"app": "debug"}).Obj()
	for name, tc := range map[string]struct {
		replicas int32
		pods     []*miniv1.MiniPod
		edit     func(*miniv1.MiniReplicaSet)
		want     todo
	}{
		"nothing there":       {replicas: 3, want: todo{Create: 3}},
		"nothing wanted":      {replicas: 0, pods: []*miniv1.MiniPod{mine("a").Obj()}, want: todo{Delete: []string{"a"}}},
		"as wanted":           {replicas: 1, pods: []*miniv1.MiniPod{mine("a").Obj()}},
		"ended are replaced":  {replicas: 1, pods: []*miniv1.MiniPod{mine("a").Phase(miniv1.PodFailed).Obj()}, want: todo{Create: 1}},
		"ending are replaced": {replicas: 1, pods: []*miniv1.MiniPod{mine("a").Deleting(now).Obj()}, want: todo{Create: 1}},
		"orphans are adopted": {replicas: 2, pods: []*miniv1.MiniPod{orphan("a").Obj(), orphan("ended").Phase(miniv1.PodSucceeded).Obj()},
			want: todo{Create: 1, Adopt: []string{"a"}}},
		"too many orphans": {replicas: 1, pods: []*miniv1.MiniPod{orphan("a").Obj(), mine("b").Node("n").Obj()},
			want: todo{Adopt: []string{"a"}, Delete: []string{"a"}}},
		"others' are left":        {replicas: 0, pods: []*miniv1.MiniPod{foreign}},
		"relabelled are released": {replicas: 1, pods: []*miniv1.MiniPod{relabelled}, want: todo{Create: 1, Release: []string{"relabelled"}}},
		"a set that goes does nothing": {replicas: 5, pods: []*miniv1.MiniPod{mine("a").Obj(), orphan("b").Obj(), relabelled},
			edit: func(s *miniv1.MiniReplicaSet) { t := metav1.NewTime(now); s.DeletionTimestamp = &t }},
		"a mismatch does nothing": {replicas: 5, pods: []*miniv1.MiniPod{mine("a").Obj()},
			edit: func(s *miniv1.MiniReplicaSet) { s.Spec.Template.Metadata.Labels = nil }},
		"not given is one": {edit: func(s *miniv1.MiniReplicaSet) { s.Spec.Replicas = nil }, want: todo{Create: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(tc.replicas)
			if tc.edit != nil {
				tc.edit(s)
			}
			plan := replicas.Make(replicas.FromSet(s), tc.pods, nil)
			got := todo{plan.Create, nilIfEmpty(plan.Delete), nilIfEmpty(plan.Claims.Adopt), nilIfEmpty(plan.Claims.Release)}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want,+got):\n%s", diff)
			}
		})
	}
}

func nilIfEmpty(pods []*miniv1.MiniPod) []string {
	if len(pods) == 0 {
		return nil
	}
	return names(pods)
}

// Each MiniPod is missed less than the next; the order must not depend on how they come.
func TestVictims(t *testing.T) {
	running := func(name, node string) *builders.PodBuilder {
		return mine(name).Node(node).ReadySince(now.Add(-time.Hour))
	}
	cost := func(value string) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) { p.Annotations = map[string]string{corev1.PodDeletionCost: value} }
	}
	pods := []*miniv1.MiniPod{
		mine("0-unbound").Obj(),
		mine("1-pending").Node("a").Obj(),
		mine("2-unknown").Node("a").Phase(miniv1.PodUnknown).Obj(),
		mine("3-not-ready").Node("b").Phase(miniv1.PodRunning).Obj(),
		running("4-cheap", "c").With(cost("-5")).Obj(),
		running("5-crowded", "a").Obj(),
		running("51-crowded-by-siblings", "f").Obj(),
		running("6-younger-ready", "d").ReadySince(now).With(func(p *miniv1.MiniPod) {
			meta.FindStatusCondition(p.Status.Conditions, miniv1.ConditionReady).LastTransitionTime = metav1.NewTime(now)
		}).Obj(),
		running("7-restarts", "d").With(func(p *miniv1.MiniPod) { p.Status.Restarts = 3 }).Obj(),
		running("8-newer", "d").With(func(p *miniv1.MiniPod) { p.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute)) }).Obj(),
		running("90-by-name", "e").Obj(),
		running("91-by-name", "e").With(cost("nonsense")).Obj(),
		running("92-dear", "f").With(cost("5")).Obj(),
	}
	related := []*miniv1.MiniPod{running("sibling", "f").Obj(), running("sibling-2", "f").Obj(),
		running("sibling-3", "a").Obj(), running("sibling-4", "a").Obj(), pods[0], running("gone", "e").Deleting(now).Obj()}
	want := names(pods)
	for range 20 {
		shuffled := slices.Clone(pods)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(want, names(replicas.Victims(shuffled, related))); diff != "" {
			t.Fatalf("(-want,+got):\n%s", diff)
		}
	}
}

func TestCount(t *testing.T) {
	s := set(4)
	s.Spec.MinReadySeconds = 10
	pods := []*miniv1.MiniPod{
		mine("not-ready").Phase(miniv1.PodRunning).Obj(),
		mine("available").ReadySince(now.Add(-10 * time.Second)).Obj(),
		mine("soon").ReadySince(now.Add(-7 * time.Second)).Obj(),
		mine("later").ReadySince(now).Labels(map[string]string{"app": "web"}).Obj(),
	}
	got, wake := replicas.Count(replicas.FromSet(s), pods, now)
	if want := (replicas.Counts{Replicas: 4, FullyLabeled: 3, Ready: 3, Available: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if wake != 3*time.Second {
		t.Errorf("wakes after %v, want 3 s", wake)
	}
}

func TestStatus(t *testing.T) {
	full := replicas.Counts{Replicas: 2, FullyLabeled: 2, Ready: 2, Available: 2}
	refused := conditions.Failure{Reason: miniv1.ReasonFailedCreate, Message: "exceeded quota"}
	invalid := conditions.Failure{Reason: miniv1.ReasonFailedCreate, Message: "invalid label", Final: true}
	for name, tc := range map[string]struct {
		counts  replicas.Counts
		failure conditions.Failure
		edit    func(*miniv1.MiniReplicaSet)
		want    map[string]string
		says    string
	}{
		"as wanted": {counts: full, want: map[string]string{"Ready": "True/ReplicasReady"}, says: "2 of 2 MiniPods are available."},
		"not yet": {counts: replicas.Counts{Replicas: 2, Ready: 1},
			want: map[string]string{"Ready": "False/ReplicasNotReady", "Reconciling": "True/ReplicasNotReady"}},
		"too many": {counts: replicas.Counts{Replicas: 3, Available: 3},
			want: map[string]string{"Ready": "False/ReplicasNotReady", "Reconciling": "True/ReplicasNotReady"}},
		"refused": {failure: refused, says: "exceeded quota", want: map[string]string{"Ready": "False/ReplicasNotReady",
			"ReplicaFailure": "True/FailedCreate", "Reconciling": "True/FailedCreate"}},
		"refused for good": {failure: invalid, says: "invalid label", want: map[string]string{"Ready": "False/ReplicasNotReady",
			"ReplicaFailure": "True/FailedCreate", "Stalled": "True/FailedCreate"}},
		"mismatch": {edit: func(s *miniv1.MiniReplicaSet) { s.Spec.Template.Metadata.Labels = nil }, says: "Add the missing labels",
			want: map[string]string{"Ready": "False/ReplicasNotReady", "Stalled": "True/SelectorMismatch"}},
		"unreadable": {edit: func(s *miniv1.MiniReplicaSet) {
			s.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
		}, says: `"Near" is not a valid label selector operator`,
			want: map[string]string{"Ready": "False/ReplicasNotReady", "Stalled": "True/SelectorMismatch"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(2)
			// What was true before must go where it no longer is.
			s.Status = replicas.Status(s, replicas.FromSet(s), replicas.Counts{}, invalid, now.Add(-time.Hour))
			if tc.edit != nil {
				tc.edit(s)
			}
			status := replicas.Status(s, replicas.FromSet(s), tc.counts, tc.failure, now)
			got, said := map[string]string{}, false
			for _, c := range status.Conditions {
				got[c.Type] = string(c.Status) + "/" + c.Reason
				said = said || strings.Contains(c.Message, tc.says)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want,+got):\n%s", diff)
			}
			if !said {
				t.Errorf("no condition says %q: %+v", tc.says, status.Conditions)
			}
			if status.ObservedGeneration != 3 || status.Replicas != int32(tc.counts.Replicas) {
				t.Errorf("status %+v", status)
			}
		})
	}
}
