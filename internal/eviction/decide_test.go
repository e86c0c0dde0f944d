package eviction

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/test/builders"
)

var start = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

// at is a time, in seconds from the start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// bound is a MiniPod of a MiniReplicaSet, bound to node n1 at the start.
func bound(name string) *builders.PodBuilder { return bare(name).With(owned("MiniReplicaSet")) }

// bare is one without a controller.
func bare(name string) *builders.PodBuilder {
	return builders.Pod("ns", name).Node("n1").With(func(pod *miniv1.MiniPod) {
		pod.CreationTimestamp = metav1.NewTime(at(-10))
		conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionPodScheduled, Status: metav1.ConditionTrue,
			Reason: miniv1.ReasonScheduled, LastTransitionTime: metav1.NewTime(start)})
	})
}

func owned(kind string) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) {
		yes := true
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "miniplane.dev/v1alpha1", Kind: kind, Name: "owner", UID: "owner", Controller: &yes}}
	}
}

func created(when time.Time) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) { pod.CreationTimestamp = metav1.NewTime(when) }
}

// tolerating adds a toleration of every taint with the key ("" for all of them), for some seconds or, below 0, for ever.
func tolerating(key string, seconds int64) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) {
		t := miniv1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
		if seconds >= 0 {
			t.Effect, t.TolerationSeconds = corev1.TaintEffectNoExecute, &seconds
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
	}
}

func marked(reason string) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) { Mark(Eviction{Pod: pod, Reason: reason}) }
}

// noExecute is a taint that was seen at second 0.
func noExecute(key string) Taint {
	return Taint{corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute}, at(0)}
}

// summary is a plan in short.
type summary struct {
	Evict, Unmark, Blocking []string // Evict with the first letter of the reason: T for taint, D for drain
	Marker                  MarkerStep
	Again                   time.Time
}

func short(plan Plan) summary {
	out := summary{Marker: plan.Marker, Again: plan.Again}
	for _, e := range plan.Evict {
		out.Evict = append(out.Evict, map[string]string{miniv1.ReasonDeletionByTaintManager: "T ", miniv1.ReasonDeletionByDrain: "D "}[e.Reason]+e.Pod.Name)
	}
	for _, pod := range plan.Unmark {
		out.Unmark = append(out.Unmark, pod.Name)
	}
	for _, pod := range plan.Blocking {
		out.Blocking = append(out.Blocking, pod.Name)
	}
	return out
}

func check(t *testing.T, seen Observed, now float64, want summary) {
	t.Helper()
	if diff := cmp.Diff(want, short(Decide(seen, at(now)))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func objects(pods []*builders.PodBuilder) (out []*miniv1.MiniPod) {
	for _, pod := range pods {
		out = append(out, pod.Obj())
	}
	return out
}

func TestTaints(t *testing.T) {
	a, b := noExecute("a"), noExecute("b")
	later := Taint{b.Taint, at(30)}
	type pods = []*builders.PodBuilder
	tests := []struct {
		name   string
		taints []Taint
		pods   pods
		now    float64
		want   summary
	}{
		{"none", nil, pods{bound("p")}, 1, summary{}},
		{"not tolerated", []Taint{a}, pods{bound("p"), bare("bare")}, 0, summary{Evict: []string{"T p", "T bare"}}},
		{"tolerated for ever", []Taint{a}, pods{bound("p").With(tolerating("a", -1)), bound("all").With(tolerating("", -1))}, 1e6, summary{}},
		{"one of two", []Taint{a, b}, pods{bound("p").With(tolerating("a", -1))}, 0, summary{Evict: []string{"T p"}}},
		{"one of two, the other not yet over", []Taint{a, b}, pods{bound("p").With(tolerating("a", 60))}, 0, summary{Evict: []string{"T p"}}},
		{"for a time", []Taint{a}, pods{bound("p").With(tolerating("a", 60))}, 59.9, summary{Again: at(60)}},
		{"until then", []Taint{a}, pods{bound("p").With(tolerating("a", 60))}, 60, summary{Evict: []string{"T p"}}},
		{"for no time", []Taint{a}, pods{bound("p").With(tolerating("a", 0))}, 0, summary{Evict: []string{"T p"}}},
		{"for longer than can be counted", []Taint{a}, pods{bound("p").With(tolerating("a", math.MaxInt64))}, 1e6, summary{Again: at(0).Add(9223372036 * time.Second)}},
		{"the shortest counts, and not for ever", []Taint{a},
			pods{bound("p").With(tolerating("", -1)).With(tolerating("a", 60)).With(tolerating("a", 20))}, 1, summary{Again: at(20)}},
		{"two taints, each from its own time", []Taint{a, later},
			pods{bound("p").With(tolerating("a", 60)).With(tolerating("b", 20))}, 31, summary{Again: at(50)}},
		{"the soonest MiniPod is next", []Taint{a},
			pods{bound("p").With(tolerating("a", 60)), bound("q").With(tolerating("a", 40)), bound("r").With(tolerating("a", 90))}, 1, summary{Again: at(40)}},
		{"it came in spite of the taint: from its arrival", []Taint{a}, pods{bound("late").With(tolerating("a", 60))}, 101, summary{Again: at(160)}},
		{"ended, and going, are left alone", []Taint{a}, pods{bound("done").Phase(miniv1.PodSucceeded), bound("going").Deleting(start)}, 1, summary{}},
		{"the taint went", nil, pods{bound("p").With(marked(miniv1.ReasonDeletionByTaintManager)), bound("q").With(marked(miniv1.ReasonDeletionByDrain)),
			bound("lost").With(marked(miniv1.ReasonDeletionByNodeController)),
			bound("going").With(marked(miniv1.ReasonDeletionByTaintManager)).Deleting(start)}, 1, summary{Unmark: []string{"p", "q"}}},
		{"said, not done", []Taint{a}, pods{bound("p").With(marked(miniv1.ReasonDeletionByTaintManager))}, 1, summary{Evict: []string{"T p"}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			check(t, Observed{Name: "n1", Node: &corev1.Node{}, Taints: tc.taints, Pods: objects(tc.pods),
				Arrived: map[types.UID]time.Time{bound("late").Obj().UID: at(100)}}, tc.now, tc.want)
		})
	}
}

func TestMessages(t *testing.T) {
	taint := Taint{corev1.Taint{Key: "team", Value: "blue", Effect: corev1.TaintEffectNoExecute}, start}
	for want, pod := range map[string]*builders.PodBuilder{
		"node n1 has the taint team=blue:NoExecute, which is not tolerated":            bound("p"),
		"node n1 has the taint team=blue:NoExecute, which is not tolerated any longer": bound("p").With(tolerating("team", 5)),
	} {
		plan := Decide(Observed{Name: "n1", Node: &corev1.Node{}, Taints: []Taint{taint}, Pods: objects([]*builders.PodBuilder{pod})}, at(10))
		if len(plan.Evict) != 1 || plan.Evict[0].Message != want {
			t.Errorf("%+v, want %q", plan.Evict, want)
		}
	}
}

func TestMarkAndUnmark(t *testing.T) {
	before := bound("p").ReadySince(start).Obj()
	pod := before.DeepCopy()
	Mark(Eviction{pod, miniv1.ReasonDeletionByDrain, "node n1 is drained"})
	if !isMarked(pod) {
		t.Errorf("marked: %+v", pod.Status.Conditions)
	}
	Unmark(pod)
	if diff := cmp.Diff(before, pod); diff != "" {
		t.Errorf("unmarked (-before +after):\n%s", diff)
	}
}

// What KCM says about kubelets, and taints without an effect on what runs, do not concern MiniPods.
func TestSightings(t *testing.T) {
	taint := func(key, value string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Value: value, Effect: effect}
	}
	s := NewSightings()
	team := taint("team", "blue", corev1.TaintEffectNoExecute)
	told := team
	told.Key, told.TimeAdded = "told", &metav1.Time{Time: at(-100)}
	all := []corev1.Taint{team, told, taint("x", "", corev1.TaintEffectNoSchedule),
		taint(corev1.TaintNodeNotReady, "", corev1.TaintEffectNoExecute), taint(corev1.TaintNodeUnreachable, "", corev1.TaintEffectNoExecute)}
	sightings := func(name string, taints []corev1.Taint, now float64, want ...Taint) {
		t.Helper()
		if diff := cmp.Diff(want, s.Observe(name, taints, at(now))); diff != "" {
			t.Errorf("at %v (-want +got):\n%s", now, diff)
		}
	}
	sightings("a", all, 1, Taint{team, at(1)}, Taint{told, at(1)})
	sightings("a", all, 5, Taint{team, at(1)}, Taint{told, at(1)})
	sightings("b", all[:1], 6, Taint{team, at(6)})
	green := taint("team", "green", corev1.TaintEffectNoExecute)
	sightings("a", []corev1.Taint{green}, 7, Taint{green, at(7)})
	sightings("a", all[:1], 8, Taint{team, at(8)}) // it had gone meanwhile
	sightings("a", nil, 9)
	sightings("b", nil, 9)
	if len(s.first) != 0 {
		t.Errorf("still remembered: %v", s.first)
	}
}

func TestArrivals(t *testing.T) {
	s, team := NewSightings(), noExecute("team").Taint
	one, two := bound("one").Obj(), bound("two").Obj()
	arrivals := func(taints []corev1.Taint, now float64, want map[types.UID]time.Time, pods ...*miniv1.MiniPod) {
		t.Helper()
		s.Observe("n", taints, at(now))
		if diff := cmp.Diff(want, s.Arrivals("n", pods, at(now))); diff != "" {
			t.Errorf("at %v (-want +got):\n%s", now, diff)
		}
	}
	type times = map[types.UID]time.Time
	arrivals(nil, 1, nil, one)
	arrivals([]corev1.Taint{team}, 2, times{one.UID: at(2)}, one)
	arrivals([]corev1.Taint{team}, 3, times{one.UID: at(2), two.UID: at(3)}, one, two)
	arrivals([]corev1.Taint{team}, 4, times{two.UID: at(3)}, two)
	arrivals([]corev1.Taint{team}, 5, times{one.UID: at(5), two.UID: at(3)}, one, two) // it had gone meanwhile
	arrivals(nil, 6, nil, one)
	if len(s.pods) != 0 {
		t.Errorf("still remembered: %v", s.pods)
	}
}

// The machine's clock says something else than what the manager has seen: a taint of ten minutes from now, one of an hour ago, a
// binding of an hour ago. None ends a toleration sooner, or makes it longer.
func TestClocksThatDiffer(t *testing.T) {
	for _, added := range []float64{-3600, 600} {
		s, taint := NewSightings(), noExecute("a").Taint
		taint.TimeAdded = &metav1.Time{Time: at(added)}
		pod := bound("p").With(tolerating("a", 60)).With(created(at(added))).With(func(pod *miniv1.MiniPod) {
			pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(at(added))
		}).Obj()
		seen := Observed{Name: "n1", Node: &corev1.Node{}, Pods: []*miniv1.MiniPod{pod}}
		seen.Taints = s.Observe("n1", []corev1.Taint{taint}, at(0))
		seen.Arrived = s.Arrivals("n1", seen.Pods, at(0))
		check(t, seen, 59, summary{Again: at(60)})
		check(t, seen, 60, summary{Evict: []string{"T p"}})
	}
}
