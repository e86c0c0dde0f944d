package daemonplan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/test/builders"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// newSet makes a set of the image v2 whose MiniPods must be ready for ten seconds.
func newSet(edit ...func(*miniv1.MiniDaemonSet)) *miniv1.MiniDaemonSet {
	set := &miniv1.MiniDaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "set", Generation: 1}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	set.Spec.Template.Metadata.Labels = map[string]string{"app": "web"}
	set.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "v2"}}
	set.Spec.MinReadySeconds = 10
	for _, edit := range edit {
		edit(set)
	}
	return set
}

func rolling(surge, unavailable string) func(*miniv1.MiniDaemonSet) {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return func(set *miniv1.MiniDaemonSet) {
		set.Spec.UpdateStrategy = miniv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType,
			RollingUpdate: &miniv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u}}
	}
}

func onDelete(set *miniv1.MiniDaemonSet) {
	set.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
}

// revisionOf is the revision of an image, as the plan makes it.
func revisionOf(image string, number int64) *appsv1.ControllerRevision {
	set := newSet()
	set.Spec.Template.Spec.Containers[0].Image = image
	revision := daemonplan.Make(daemonplan.Observed{Set: set, Now: start}).Revisions.Create
	revision.Revision = number
	return revision
}

// observe reads a world from one line: nodes "a", "~b" (keeps what is there) and "!c" (rejects), each with what it has after "=":
//
//	O N   old, new: ready for long      q   new: ready for a moment only
//	o n   bound and not ready           p   new: waits for room
//	F f   failed                        s   new: succeeded
//	E e   old, new: being deleted       D   new: failed and being deleted
func observe(set *miniv1.MiniDaemonSet, line string) daemonplan.Observed {
	v1, v2 := revisionOf("v1", 1), revisionOf("v2", 2)
	seen := daemonplan.Observed{Set: set, Revisions: []*appsv1.ControllerRevision{v1, v2}, Now: start}
	for word := range strings.FieldsSeq(line) {
		name, has, _ := strings.Cut(word, "=")
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: strings.TrimLeft(name, "~!?")}}
		switch name[0] {
		case '~':
			node.Spec.Taints = []corev1.Taint{{Key: "full", Effect: corev1.TaintEffectNoSchedule}}
		case '!':
			node.Spec.Taints = []corev1.Taint{{Key: "off", Effect: corev1.TaintEffectNoExecute}}
		}
		if name[0] != '?' { // else there is no such node
			seen.Nodes = append(seen.Nodes, daemonplan.Node{Core: node})
		}
		for i, letter := range has {
			seen.Pods = append(seen.Pods, podOf(set, node.Name, fmt.Sprintf("%s%d%c", node.Name, i, letter), letter, v1, v2))
		}
	}
	return seen
}

func podOf(set *miniv1.MiniDaemonSet, node, name string, letter rune, v1, v2 *appsv1.ControllerRevision) *miniv1.MiniPod {
	revision := v2
	if strings.ContainsRune("OoFE", letter) {
		revision = v1
	}
	labels := map[string]string{"app": "web", appsv1.ControllerRevisionHashLabelKey: revision.Labels[appsv1.ControllerRevisionHashLabelKey]}
	pod := builders.Pod("ns", name).Labels(labels).With(func(pod *miniv1.MiniPod) {
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, miniv1.GroupVersion.WithKind("MiniDaemonSet"))}
		pod.Spec.NodeName = node
	})
	if letter != 'p' {
		pod.Node(node)
	}
	switch letter {
	case 'O', 'N':
		pod.ReadySince(start.Add(-time.Hour))
	case 'q':
		pod.ReadySince(start.Add(-3 * time.Second))
	case 'F', 'f':
		pod.Phase(miniv1.PodFailed)
	case 's':
		pod.Phase(miniv1.PodSucceeded)
	case 'E', 'e':
		pod.ReadySince(start.Add(-time.Hour)).Deleting(start)
	case 'D':
		pod.Phase(miniv1.PodFailed).Deleting(start)
	}
	return pod.Obj()
}

// write writes a plan in one line: "+a" creates on node a, "-a0O" deletes.
func write(plan *daemonplan.Plan) string {
	var out []string
	for _, d := range plan.Delete {
		out = append(out, "-"+d.Pod.Name)
	}
	for _, node := range plan.Create {
		out = append(out, "+"+node)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestMake(t *testing.T) {
	inPlace, beside := rolling("0", "1"), rolling("1", "0")
	for _, tc := range []struct {
		name   string
		set    *miniv1.MiniDaemonSet
		seen   string
		want   string
		wakeIn time.Duration
	}{
		{"no nodes", newSet(), "", "", 0},
		{"each node wants one", newSet(), "a b c", "+a +b +c", 0},
		{"a node that keeps, and one that rejects, get none", newSet(), "a ~b !c", "+a", 0},
		{"all there", newSet(), "a=N b=N", "", 0},
		{"one that waits for room is there", newSet(), "a=p b=n", "", 0},
		{"none comes before the last is gone", newSet(), "a=e b=E", "", 0},
		{"what has ended runs no more, and holds nothing up", newSet(), "a=D", "+a", 0},
		{"one that is ready counts with time", newSet(), "a=q", "", 7 * time.Second},
		{"a node that keeps keeps, and one that rejects does not", newSet(), "~b=N !c=N !d=p !e=e", "-c0N -d0p", 0},
		{"what failed or succeeded is deleted first", newSet(), "a=f b=s ~c=f", "-a0f -b0s -c0f", 0},
		{"of several the oldest that is ready stays", newSet(), "a=nNN b=pn", "-a0n -a2N -b0p", 0},
		{"a node that is gone: what was bound is the node controller's", newSet(), "?a=Nnp", "-a2p", 0},

		{"in place: one at a time", newSet(inPlace), "a=O b=O c=N", "-a0O", 0},
		{"in place: as many as may be missing", newSet(rolling("0", "50%")), "a=O b=O c=O", "-a0O -b0O", 0},
		{"in place: not while another is missing", newSet(inPlace), "a=O b=n c=O", "", 0},
		{"in place: nor for too short a time there", newSet(inPlace), "a=O b=q", "", 7 * time.Second},
		{"in place: nor being made", newSet(inPlace), "a=O b=e", "", 0},
		{"in place: nor created now", newSet(inPlace), "a=O b", "+b", 0},
		{"in place: what does not serve goes at once", newSet(inPlace), "a=o b=o c=O", "-a0o -b0o", 0},
		{"in place: a node that rejects counts for nothing", newSet(inPlace), "a=O !b=e !c=O", "-a0O -c0O", 0},
		{"in place: old ones go from nodes that keep, too", newSet(inPlace), "~a=O b=N", "-a0O", 0},
		{"in place: an old one that failed goes at once", newSet(inPlace), "a=F", "-a0F", 0},
		{"on delete: nothing by itself", newSet(onDelete), "a=O b=o c", "+c", 0},

		{"beside: one at a time", newSet(beside), "a=O b=O c=N", "+a", 0},
		{"beside: as many as may be too many", newSet(rolling("50%", "0")), "a=O b=O c=O", "+a +b", 0},
		{"beside: not while another comes", newSet(beside), "a=On b=O", "", 0},
		{"beside: until it is available", newSet(beside), "a=Oq b=O", "", 7 * time.Second},
		{"beside: then the old one goes", newSet(beside), "a=ON b=O", "+b -a0O", 0},
		{"beside: an old one that does not serve goes when a new one is there", newSet(beside), "a=on b=O", "+b -a0o", 0},
		{"beside: where none serves, it is no surge", newSet(beside), "a=o b=o c=O", "+a +b +c", 0},
		{"beside: one that is ending holds nothing up", newSet(beside), "a=e b=E", "+a +b", 0},
		{"beside: three are one too many", newSet(beside), "a=OOn", "-a1O", 0},
		{"beside: a failed one is replaced, on its own node first", newSet(beside), "a=Of b=O", "+a -a1f", 0},
		{"beside: left over on a node that keeps, for as long as it is needed", newSet(beside), "~a=O b=n", "", 0},
		{"beside: and not longer", newSet(beside), "~a=O b=N", "-a0O", 0},
		{"beside: what does not serve there goes", newSet(beside), "~a=o b=n", "-a0o", 0},

		{"a set that is being deleted", newSet(func(set *miniv1.MiniDaemonSet) { set.DeletionTimestamp = &metav1.Time{Time: start} }), "a b=O !c=N", "", 0},
		{"a template that the selector does not find", newSet(func(set *miniv1.MiniDaemonSet) { set.Spec.Template.Metadata.Labels = nil }), "a b=O !c=N", "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := daemonplan.Make(observe(tc.set, tc.seen))
			if got := write(plan); got != tc.want || plan.Again != tc.wakeIn {
				t.Errorf("%s: got %q, again after %v; want %q, %v", tc.seen, got, plan.Again, tc.want, tc.wakeIn)
			}
		})
	}
}

// A MiniPod that failed waits where others failed before it, and nowhere else; with a surge none is made beside it meanwhile.
func TestFailedWaits(t *testing.T) {
	for _, set := range []*miniv1.MiniDaemonSet{newSet(), newSet(rolling("1", "0"))} {
		seen := observe(set, "a=f b=f c=s")
		seen.Retry = map[string]time.Time{"a": start.Add(4 * time.Second), "b": start, "c": start.Add(time.Minute)}
		plan := daemonplan.Make(seen)
		if got := write(plan); got != "-b0f -c0s" || plan.Again != 4*time.Second {
			t.Errorf("%s, again after %v", got, plan.Again)
		}
		for _, d := range plan.Delete {
			if !d.Ended {
				t.Errorf("%s is deleted for another reason than that it ended", d.Pod.Name)
			}
		}
	}
}

// A node that miniplane is about to leave gets nothing new, and what is there is moved by others.
func TestLeaving(t *testing.T) {
	seen := observe(newSet(), "a b=N")
	for i := range seen.Nodes {
		seen.Nodes[i].Leaving = true
	}
	if got := write(daemonplan.Make(seen)); got != "" {
		t.Error(got)
	}
}

// What failed with an old template is not tried again, and holds no update up.
func TestFailedAndOld(t *testing.T) {
	for set, want := range map[*miniv1.MiniDaemonSet]string{newSet(): "-a0F", newSet(rolling("1", "0")): "+a -a0F"} {
		seen := observe(set, "a=F")
		seen.Retry = map[string]time.Time{"a": start.Add(time.Minute)}
		if got := write(daemonplan.Make(seen)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNodeSelectorAndName(t *testing.T) {
	seen := observe(newSet(func(set *miniv1.MiniDaemonSet) {
		set.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	}), "a b")
	seen.Nodes[1].Core.Labels = map[string]string{"disk": "ssd"}
	if got := write(daemonplan.Make(seen)); got != "+b" {
		t.Error(got)
	}
	seen.Set = newSet(func(set *miniv1.MiniDaemonSet) { set.Spec.Template.Spec.NodeName = "a" })
	if got := write(daemonplan.Make(seen)); got != "+a" {
		t.Error(got)
	}
	seen.Set = newSet(func(set *miniv1.MiniDaemonSet) {
		set.Spec.Template.Spec.Affinity = &miniv1.Affinity{NodeAffinity: &miniv1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &miniv1.NodeSelector{
			NodeSelectorTerms: []miniv1.NodeSelectorTerm{
				{MatchExpressions: []miniv1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpDoesNotExist}}},
				{MatchFields: []miniv1.NodeFieldRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"c"}}}},
			},
		}}}
	})
	seen.Nodes[1].Core.Labels["zone"] = "z"
	if got := write(daemonplan.Make(seen)); got != "+a" {
		t.Error(got)
	}
}

// MiniPods of nobody are adopted and count on the node that they are bound to; those that are for no node count nowhere.
func TestAdoption(t *testing.T) {
	seen := observe(newSet(), "a b")
	orphan := builders.Pod("ns", "orphan").Labels(map[string]string{"app": "web"}).Node("b").ReadySince(start.Add(-time.Hour)).Obj()
	unbound := builders.Pod("ns", "unbound").Labels(map[string]string{"app": "web"}).Obj()
	ended := builders.Pod("ns", "ended").Labels(map[string]string{"app": "web"}).Node("b").Phase(miniv1.PodFailed).Obj()
	seen.Pods = append(seen.Pods, orphan, unbound, ended)
	plan := daemonplan.Make(seen)
	if len(plan.Claims.Adopt) != 2 || write(plan) != "+a" {
		t.Errorf("adopts %d, %s", len(plan.Claims.Adopt), write(plan))
	}
}

func TestBounds(t *testing.T) {
	for _, tc := range []struct {
		set                *miniv1.MiniDaemonSet
		nodes              int
		surge, unavailable int
	}{
		{newSet(), 10, 0, 1},
		{newSet(rolling("0", "25%")), 10, 0, 3},
		{newSet(rolling("1%", "0")), 10, 1, 0},
		{newSet(rolling("0", "0")), 10, 0, 1},
		{newSet(rolling("10%", "0%")), 0, 0, 1},
		{newSet(onDelete), 10, 0, 0},
	} {
		if surge, unavailable := daemonplan.Bounds(tc.set, tc.nodes); surge != tc.surge || unavailable != tc.unavailable {
			t.Errorf("%+v of %d: %d, %d; want %d, %d", tc.set.Spec.UpdateStrategy.RollingUpdate, tc.nodes, surge, unavailable, tc.surge, tc.unavailable)
		}
	}
}

// The tolerations that every MiniDaemonSet has take the place of those that say for how long.
func TestAim(t *testing.T) {
	for _, host := range []bool{false, true} {
		pod := builders.Pod("ns", "a").Obj()
		pod.Spec.HostNetwork = host
		soon := int64(300)
		pod.Spec.Tolerations = []miniv1.Toleration{
			{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &soon},
			{Key: "team", Value: "db"},
		}
		daemonplan.Aim(pod, "n1", "hash")
		want := []string{"team==db:", "node.kubernetes.io/not-ready=Exists=:NoExecute", "node.kubernetes.io/unreachable=Exists=:NoExecute",
			"node.kubernetes.io/disk-pressure=Exists=:NoSchedule", "node.kubernetes.io/memory-pressure=Exists=:NoSchedule",
			"node.kubernetes.io/pid-pressure=Exists=:NoSchedule", "node.kubernetes.io/unschedulable=Exists=:NoSchedule"}
		if host {
			want = append(want, "node.kubernetes.io/network-unavailable=Exists=:NoSchedule")
		}
		var got []string
		for _, t := range pod.Spec.Tolerations {
			got = append(got, fmt.Sprintf("%s=%s=%s:%s", t.Key, t.Operator, t.Value, t.Effect))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if pod.Spec.NodeName != "n1" || pod.Labels[appsv1.ControllerRevisionHashLabelKey] != "hash" {
			t.Errorf("for node %s, of revision %v", pod.Spec.NodeName, pod.Labels)
		}
	}
}

func TestFailures(t *testing.T) {
	f, set, now := daemonplan.NewFailures(), types.NamespacedName{Namespace: "ns", Name: "web"}, start
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		f.Note(set, "a", now)
		if got := f.Retry(set, now)["a"].Sub(now); got != want*time.Second {
			t.Errorf("after failure %d: %v, want %v", i+1, got, want*time.Second)
		}
		now = now.Add(want * time.Second)
	}
	if _, ok := f.Retry(set, now)["b"]; ok {
		t.Error("another node has to wait, too")
	}
	now = now.Add(31 * time.Minute)
	if left := f.Retry(set, now); len(left) > 0 {
		t.Errorf("not forgotten after a long time without: %v", left)
	}
	f.Note(set, "a", now)
	if got := f.Retry(set, now)["a"].Sub(now); got != time.Second {
		t.Errorf("begins anew with %v", got)
	}
	f.Forget(set)
	if left := f.Retry(set, now); len(left) > 0 {
		t.Errorf("a set that is gone is remembered: %v", left)
	}
}

// What one pass costs on 5000 nodes with 10 revisions.
func BenchmarkMake(b *testing.B) {
	var line strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&line, "n%d=N ", i)
	}
	seen := observe(newSet(), line.String())
	for i := range 8 {
		seen.Revisions = append(seen.Revisions, revisionOf(fmt.Sprintf("w%d", i), int64(-i)))
	}
	for b.Loop() {
		daemonplan.Make(seen)
	}
}
