package eviction

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

func miniNode() *miniv1.MiniNode {
	return &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "n1"}}
}

// scene is a node with everything that a drain looks at; the zero value is a cordoned node that is being drained.
type scene struct {
	noGuard, noNode, noMiniNode, nodeGoes, miniNodeGoes bool
	uncordoned                                          bool
	marker                                              func(*corev1.Pod)
	noMarker                                            bool
	taints                                              []Taint
	pods                                                []*builders.PodBuilder
}

// going is a marker that was deleted at second 0.
func going(marker *corev1.Pod) { marker.DeletionTimestamp = &metav1.Time{Time: at(0)} }

func standing(*corev1.Pod) {}

// kept is a MiniPod that its agent has let go of, and another's finalizer keeps.
func kept(name string) *builders.PodBuilder {
	return bound(name).Deleting(at(1)).With(func(pod *miniv1.MiniPod) { pod.Finalizers = []string{"example.com/other"} })
}

func (s scene) observed() Observed {
	seen := Observed{Name: "n1", Node: &corev1.Node{}, MiniNode: miniNode(), WantMarkers: !s.noGuard, Taints: s.taints, Pods: objects(s.pods)}
	seen.Node.Spec.Unschedulable = !s.uncordoned
	seen.Marker = Marker(seen.MiniNode)
	Complete(seen.Marker)
	seen.Marker.Spec.NodeName = "n1"
	if s.marker == nil {
		s.marker = going
	}
	s.marker(seen.Marker)
	now := metav1.NewTime(start)
	if s.nodeGoes {
		seen.Node.DeletionTimestamp = &now
	}
	if s.miniNodeGoes {
		seen.MiniNode.DeletionTimestamp = &now
	}
	if s.noNode {
		seen.Node = nil
	}
	if s.noMiniNode {
		seen.MiniNode = nil
	}
	if s.noMarker {
		seen.Marker = nil
	}
	return seen
}

func TestDrain(t *testing.T) {
	type pods = []*builders.PodBuilder
	daemon := func(name string) *builders.PodBuilder { return bare(name).With(owned("MiniDaemonSet")) }
	tests := []struct {
		name string
		scene
		want summary
	}{
		{"all go, the marker stays", scene{pods: pods{bound("a"), bound("b")}}, summary{Evict: []string{"D a", "D b"}}},
		{"while they end, the marker stays", scene{pods: pods{bound("a").Deleting(at(1))}}, summary{}},
		{"what has ended goes, bare or not", scene{pods: pods{bare("a").Phase(miniv1.PodSucceeded), bound("b").Phase(miniv1.PodFailed)}},
			summary{Evict: []string{"D a", "D b"}}},
		{"nothing would replace a bare one", scene{pods: pods{bare("a"), bound("b")}}, summary{Evict: []string{"D b"}, Blocking: []string{"a"}}},
		{"a bare one that somebody deleted", scene{pods: pods{bare("a").Deleting(at(1))}}, summary{}},
		{"what belongs to the node stays", scene{pods: pods{daemon("a")}}, summary{Marker: MarkerRelease}},
		{"a namesake of another group is work", scene{pods: pods{daemon("a").With(func(pod *miniv1.MiniPod) {
			pod.OwnerReferences[0].APIVersion = "example.com/v1"
		})}}, summary{Evict: []string{"D a"}}},
		{"only another's finalizer keeps it: it is over", scene{pods: pods{kept("a")}}, summary{Marker: MarkerRelease}},
		{"empty: it is over", scene{}, summary{Marker: MarkerRelease}},
		{"what came since and tolerates the cordon may stay", scene{pods: pods{bound("a").With(created(at(1))).With(tolerating(corev1.TaintNodeUnschedulable, -1))}},
			summary{Marker: MarkerRelease}},
		{"what was there before may not", scene{pods: pods{bound("a").With(tolerating("", -1))}}, summary{Evict: []string{"D a"}}},
		{"what was bound too late may not", scene{pods: pods{bound("a").With(created(at(1)))}}, summary{Evict: []string{"D a"}}},
		{"a taint does not wait for people", scene{taints: []Taint{noExecute("a")}, pods: pods{bare("a"), daemon("b")}},
			summary{Evict: []string{"T a", "T b"}, Blocking: []string{"a"}}},

		{"uncordoned meanwhile", scene{uncordoned: true, pods: pods{bound("a")}}, summary{Marker: MarkerRelease}},
		{"uninstalled meanwhile", scene{noGuard: true, pods: pods{bound("a")}}, summary{Marker: MarkerRelease}},
		{"node gone meanwhile", scene{noNode: true, pods: pods{bound("a")}}, summary{Marker: MarkerRelease}},
		{"node going meanwhile", scene{nodeGoes: true, pods: pods{bound("a")}}, summary{Marker: MarkerRelease}},
		{"MiniNode gone meanwhile", scene{noMiniNode: true, pods: pods{bound("a")}}, summary{Marker: MarkerRelease}},
		{"MiniNode going meanwhile", scene{miniNodeGoes: true, pods: pods{bound("a")}}, summary{Marker: MarkerRelease}},
		{"let go of already", scene{marker: func(m *corev1.Pod) { going(m); m.Finalizers = []string{"example.com/other"} }, pods: pods{bound("a")}}, summary{}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, tc.observed(), 1, tc.want) })
	}
}

func TestMarkerWithoutADrain(t *testing.T) {
	type pods = []*builders.PodBuilder
	tests := []struct {
		name string
		scene
		want MarkerStep
	}{
		{"there, as it should be", scene{uncordoned: true, marker: standing}, MarkerKeep},
		{"cordoned only: nothing goes", scene{marker: standing, pods: pods{bound("a")}}, MarkerKeep},
		{"missing", scene{uncordoned: true, noMarker: true}, MarkerCreate},
		{"missing since the drain", scene{noMarker: true}, MarkerKeep},
		{"missing where there is work", scene{noMarker: true, pods: pods{bound("a")}}, MarkerCreate},
		{"missing where another's finalizer keeps what was there", scene{noMarker: true, pods: pods{kept("a")}}, MarkerKeep},
		{"missing where there are only daemons", scene{noMarker: true, pods: pods{bare("a").With(owned("MiniDaemonSet"))}}, MarkerKeep},
		{"missing, nobody wants it", scene{uncordoned: true, noMarker: true, noGuard: true}, MarkerKeep},
		{"missing, no core Node", scene{noMarker: true, noNode: true}, MarkerKeep},
		{"missing, no MiniNode", scene{uncordoned: true, noMarker: true, noMiniNode: true}, MarkerKeep},
		{"half made", scene{uncordoned: true, marker: func(m *corev1.Pod) { m.Spec.NodeName, m.Status = "", corev1.PodStatus{} }}, MarkerComplete},
		{"made but for the binding", scene{uncordoned: true, marker: func(m *corev1.Pod) { m.Spec.NodeName = "" }}, MarkerComplete},
		{"deleted without a cordon", scene{uncordoned: true, marker: going}, MarkerRelease},
		{"nobody wants it", scene{uncordoned: true, marker: standing, noGuard: true}, MarkerDelete},
		{"core Node gone", scene{marker: standing, noNode: true}, MarkerDelete},
		{"MiniNode gone", scene{uncordoned: true, marker: standing, noMiniNode: true}, MarkerDelete},
		{"of an earlier MiniNode", scene{uncordoned: true, marker: func(m *corev1.Pod) { m.OwnerReferences[0].UID = "before" }}, MarkerDelete},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, tc.observed(), 1, summary{Marker: tc.want}) })
	}
}

func TestMarkerName(t *testing.T) {
	if got := MarkerName("mini-0"); got != "miniplane-drain-mini-0" {
		t.Errorf("name: %s", got)
	}
	fits, long, other := strings.Repeat("n", 253-16), strings.Repeat("n", 253-15), strings.Repeat("n", 253-16)+"m"
	if got := MarkerName(fits); got != MarkerPrefix+fits {
		t.Errorf("a name that just fits: %s", got)
	}
	if got := MarkerName(long); len(got) > 253 || got == MarkerName(other) || !strings.HasPrefix(got, MarkerPrefix) {
		t.Errorf("a long name: %s, another: %s", got, MarkerName(other))
	}
}

func TestMarkedNode(t *testing.T) {
	marker := Marker(miniNode())
	if got := MarkedNode(marker); got != "n1" {
		t.Errorf("of a marker: %q", got)
	}
	unlabelled, foreign := marker.DeepCopy(), marker.DeepCopy()
	unlabelled.Labels = nil
	foreign.OwnerReferences[0].Kind = "ReplicaSet"
	for _, pod := range []*corev1.Pod{unlabelled, foreign, {}} {
		if got := MarkedNode(pod); got != "" {
			t.Errorf("of another Pod: %q", got)
		}
	}
}
