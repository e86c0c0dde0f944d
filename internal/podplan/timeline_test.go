package podplan

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// point is a time of a test's start, in milliseconds.
func point(ms int) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(ms) * time.Millisecond)
}

func micro(ms int) *metav1.MicroTime { return new(metav1.NewMicroTime(point(ms))) }

// A start is told point by point, each once, and the phases are what lies between.
func TestTimeline(t *testing.T) {
	pod := &miniv1.MiniPod{Spec: miniv1.MiniPodSpec{InitContainers: []miniv1.Container{{Name: "first", Image: "i"}}, Containers: []miniv1.Container{{Name: "a", Image: "i"}}}}
	pod.Status = miniv1.MiniPodStatus{Phase: miniv1.PodPending, StartTimeline: &miniv1.StartTimeline{QueuedTime: micro(0), ScheduledTime: micro(2)}}
	o := NewObservation()
	o.Begin(point(5))
	step := func(ms int) {
		o.Mark(pod, point(ms))
		status := Status(pod, &o, Node{RuntimeName: "containerd"}, point(ms))
		o.MarkReady(&status)
		pod.Status = status
	}
	step(6)
	o.Sandbox, o.SandboxID = SandboxWhole, "s"
	step(10)
	o.Address = netip.MustParseAddr("10.0.0.2")
	step(15)
	o.Set(Container{ID: "1", Name: "first", State: StateRunning, Sandbox: "s", StartedAt: point(16)})
	step(16)
	o.Set(Container{ID: "1", Name: "first", State: StateExited, Sandbox: "s", StartedAt: point(16), FinishedAt: point(40)})
	step(40)
	o.Images["a"] = Image{Ref: "i", State: ImagePresent}
	step(55)
	o.Set(Container{ID: "2", Name: "a", State: StateCreated, Sandbox: "s"})
	step(60)
	o.Set(Container{ID: "2", Name: "a", State: StateRunning, Sandbox: "s", StartedAt: point(61)})
	step(62)
	step(99)
	want := miniv1.StartTimeline{QueuedTime: micro(0), ScheduledTime: micro(2), ObservedTime: micro(5), SandboxTime: micro(15), InitializedTime: micro(40),
		ImagesTime: micro(55), StartedTime: micro(62), ReadyTime: micro(62)}
	if diff := cmp.Diff(want, *pod.Status.StartTimeline); diff != "" {
		t.Error(diff)
	}
	milliseconds := map[string]time.Duration{"schedule": 2, "bind": 3, "sandbox": 10, "init": 25, "images": 15, "start": 7, "ready": 0}
	got := maps.Collect(Phases(pod.Status.StartTimeline))
	for name, ms := range milliseconds {
		if got[name] != ms*time.Millisecond {
			t.Errorf("%s took %s, want %d ms", name, got[name], ms)
		}
	}
	if len(got) != len(milliseconds) {
		t.Errorf("%v", got)
	}
}

// Of a MiniPod that ran before an agent knew of timelines, nothing is told: it would be untrue, and a write for each at an upgrade.
func TestTimelineOfOneThatRan(t *testing.T) {
	for name, told := range map[string]*miniv1.StartTimeline{"nothing": nil, "the scheduler's part": {QueuedTime: micro(0), ScheduledTime: micro(1)}} {
		pod := &miniv1.MiniPod{Spec: miniv1.MiniPodSpec{Containers: []miniv1.Container{{Name: "a", Image: "i"}}}}
		pod.Status = miniv1.MiniPodStatus{Phase: miniv1.PodRunning, StartTimeline: told}
		o := NewObservation()
		o.Begin(point(5))
		o.Sandbox, o.SandboxID, o.Address = SandboxWhole, "s", netip.MustParseAddr("10.0.0.2")
		o.Set(Container{ID: "2", Name: "a", State: StateRunning, Sandbox: "s", StartedAt: point(1)})
		o.Mark(pod, point(6))
		if status := Status(pod, &o, Node{}, point(6)); status.StartTimeline != nil && status.StartTimeline.ObservedTime != nil || (status.StartTimeline == nil) != (told == nil) {
			t.Errorf("%s: %+v", name, status.StartTimeline)
		}
	}
}

// The points of a start are worth no write of their own.
func TestTimelineAloneIsNoNews(t *testing.T) {
	before := miniv1.MiniPodStatus{Phase: miniv1.PodPending}
	now := before
	now.StartTimeline = &miniv1.StartTimeline{ObservedTime: micro(1)}
	if !SaysNothingNew(&before, &now) {
		t.Error("it would be written")
	}
	if now.Phase = miniv1.PodRunning; SaysNothingNew(&before, &now) {
		t.Error("it would not be written")
	}
}

// An agent that comes after another tells no point that it did not see, and still when the MiniPod became ready.
func TestTimelineOfALateAgent(t *testing.T) {
	begun := func(told *miniv1.StartTimeline, phase miniv1.MiniPodPhase) *miniv1.StartTimeline {
		pod := &miniv1.MiniPod{Spec: miniv1.MiniPodSpec{Containers: []miniv1.Container{{Name: "a", Image: "i"}}}}
		pod.Status = miniv1.MiniPodStatus{Phase: phase, StartTimeline: told}
		o := NewObservation()
		o.Sandbox, o.SandboxID, o.Address = SandboxWhole, "s", netip.MustParseAddr("10.0.0.2")
		o.Set(Container{ID: "2", Name: "a", State: StateRunning, Sandbox: "s", StartedAt: point(1)})
		o.Begin(point(50))
		o.Mark(pod, point(51))
		status := Status(pod, &o, Node{}, point(52))
		return status.StartTimeline
	}
	scheduled := miniv1.StartTimeline{QueuedTime: micro(0), ScheduledTime: micro(1)}
	if diff := cmp.Diff(&scheduled, begun(scheduled.DeepCopy(), miniv1.PodPending)); diff != "" {
		t.Errorf("begun by one that told nothing: %s", diff)
	}
	started := scheduled
	started.ObservedTime, started.SandboxTime, started.ImagesTime, started.StartedTime = micro(2), micro(3), micro(4), micro(5)
	ready := started
	ready.ReadyTime = micro(52)
	if diff := cmp.Diff(&ready, begun(started.DeepCopy(), miniv1.PodRunning)); diff != "" {
		t.Errorf("started by one that told it: %s", diff)
	}
}
