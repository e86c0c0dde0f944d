package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func newTracker() *tracker {
	return &tracker{changed: make(chan struct{}, 1), pods: map[string]*seen{}, failed: map[string]string{}}
}

// A Pod's moments are the first time it was seen so; what comes later does not move them.
func TestTrackerNotesFirstMoments(t *testing.T) {
	tracker, start := newTracker(), time.Unix(1000, 0)
	for i, l := range []look{{}, {bound: true}, {bound: true, running: true, container: "a"}, {bound: true, running: true, container: "a"},
		{bound: true, running: true}, {bound: true, running: true, restarts: 1}, {bound: true, running: true, restarts: 1, container: "b"}} {
		tracker.note(apiwatch.Modified, "p", l, start.Add(time.Duration(i)*time.Second))
	}
	tracker.note(apiwatch.Deleted, "p", look{running: true}, start.Add(9*time.Second))
	got := tracker.at("p")
	want := []int64{1000, 1001, 1002, 1006, 1009}
	if diff := cmp.Diff(want, []int64{got.there.Unix(), got.bound.Unix(), got.running.Unix(), got.restarted.Unix(), got.gone.Unix()}); diff != "" {
		t.Errorf("there, bound, running, restarted, gone (-want +got):\n%s", diff)
	}
	if c := tracker.counts; c.there != 1 || c.bound != 1 || c.running != 1 || c.gone != 1 {
		t.Errorf("counts %+v", c)
	}
}

func TestTrackerWaits(t *testing.T) {
	tracker := newTracker()
	go func() {
		tracker.note(apiwatch.Added, "p", look{running: true}, time.Now())
		tracker.kick()
	}()
	if err := tracker.until(t.Context(), time.Minute, "start", func() bool { return tracker.counts.running == 1 }); err != nil {
		t.Fatal(err)
	}
	if err := tracker.until(t.Context(), time.Millisecond, "end", func() bool { return false }); err == nil ||
		!strings.Contains(err.Error(), "end: not within 1ms") {
		t.Errorf("%v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tracker.until(ended, time.Minute, "end", func() bool { return false }); err == nil {
		t.Error("went on after the end")
	}
	tracker.note(apiwatch.Modified, "q", look{failed: "Evicted"}, time.Now())
	if err := tracker.until(t.Context(), time.Minute, "start", func() bool { return true }); err == nil || !strings.Contains(err.Error(), "Evicted") {
		t.Errorf("a failed one passed: %v", err)
	}
}

// Both sides mean the same by bound, Running and restarted.
func TestSidesLookAlike(t *testing.T) {
	started := metav1.NewTime(time.Unix(5, 0))
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: corev1.PodRunning,
		ContainerStatuses: []corev1.ContainerStatus{{ContainerID: "containerd://x", RestartCount: 2, State: state}}}}
	miniPod := &miniv1.MiniPod{Status: miniv1.MiniPodStatus{NodeName: "n", Phase: miniv1.PodRunning, Restarts: 2,
		ContainerStatuses: []miniv1.ContainerStatus{{ContainerID: "containerd://x", RestartCount: 2, State: state}}}}
	got, want := mini{}.look(miniPod), native{}.look(pod)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(look{})); diff != "" || !got.bound || !got.running || got.container == "" {
		t.Errorf("(-native +mini):\n%s\n%+v", diff, got)
	}
}

// What both sides run is the same, up to the kind.
func TestSidesRunTheSame(t *testing.T) {
	o := podOptions{namespace: "ns", name: "p", image: "i", command: []string{"sleep", "1"}, grace: 1, nodeSelector: map[string]string{"a": "b"}}
	pod, miniPod := native{}.pod(o).(*corev1.Pod), mini{}.pod(o).(*miniv1.MiniPod)
	type run struct {
		Image    string
		Command  []string
		Pull     corev1.PullPolicy
		Grace    int64
		Selector map[string]string
	}
	a := run{pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command, pod.Spec.Containers[0].ImagePullPolicy,
		*pod.Spec.TerminationGracePeriodSeconds, pod.Spec.NodeSelector}
	b := run{miniPod.Spec.Containers[0].Image, miniPod.Spec.Containers[0].Command, miniPod.Spec.Containers[0].ImagePullPolicy,
		*miniPod.Spec.TerminationGracePeriodSeconds, miniPod.Spec.NodeSelector}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("(-native +mini):\n%s", diff)
	}
}
