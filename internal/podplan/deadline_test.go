package podplan

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// limited is a MiniPod that may be active for a hundred seconds.
func limited(start time.Time, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	pod := testPod().With(func(p *miniv1.MiniPod) {
		limit := int64(100)
		p.Spec.ActiveDeadlineSeconds = &limit
		if !start.IsZero() {
			p.Status.StartTime = seconds(start)
		}
	})
	for _, f := range change {
		pod = pod.With(f)
	}
	return pod.Obj()
}

// A deadline is counted from when the first agent took the MiniPod up; the next one goes on by its own clock.
func TestActiveUntil(t *testing.T) {
	for name, c := range map[string]struct {
		start, takenUp time.Time
		want           time.Time
	}{
		"just taken up":                         {time.Time{}, at(7), at(107)},
		"by this agent, and the status says so": {at(7), at(7).Add(900 * time.Millisecond), at(107).Add(900 * time.Millisecond)},
		"by an earlier agent":                   {at(0), at(60), at(100)},
		"long ago":                              {at(-500), at(60), at(-400)},
		"by an agent whose clock was ahead":     {at(600), at(60), at(160)},
	} {
		o := seen(container("main", 0, 0, runs))
		o.TakenUp = c.takenUp
		if got := activeUntil(limited(c.start), &o); !got.Equal(c.want) {
			t.Errorf("%s: until %s, want %s", name, got, c.want)
		}
	}
	o := seen()
	if got := activeUntil(testPod().Obj(), &o); !got.IsZero() {
		t.Errorf("without a deadline: %s", got)
	}
}

// At its deadline a MiniPod is asked to end, with its grace; nothing is started meanwhile or afterwards; and it has failed when nothing runs any more.
func TestDeadline(t *testing.T) {
	pod := limited(at(0))
	running := container("main", 0, 0, runs)
	o := seen(running)
	o.TakenUp = at(0)
	if work, until := Split(Plan(pod, o, at(99))); len(work) > 0 || !until.Equal(at(100)) {
		t.Errorf("before: %v until %s", work, until)
	}
	if work, _ := Split(Plan(pod, o, at(100))); len(work) != 1 || work[0].Type != KillContainer || work[0].Signal != StopSignal {
		t.Errorf("then: %v", work)
	}
	o.Signals[running.ID] = Sent{Term: at(100)}
	if work, until := Split(Plan(pod, o, at(101))); len(work) > 0 || !until.Equal(at(130)) {
		t.Errorf("in its grace period: %v until %s", work, until)
	}
	if status := Status(pod, &o, Node{}, at(101)); status.Phase != miniv1.PodRunning || status.Reason != "" {
		t.Errorf("while it runs: %s %s", status.Phase, status.Reason)
	}
	if work, _ := Split(Plan(pod, o, at(130))); len(work) != 1 || work[0].Signal != SIGKILL {
		t.Errorf("after it: %v", work)
	}
	for name, c := range map[string]Container{"failed": container("main", 0, 0, exited(143, 0, 101)), "well": container("main", 0, 0, exited(0, 0, 101))} {
		o.Containers = []Container{c}
		if work, _ := Split(Plan(pod, o, at(102))); len(work) > 0 {
			t.Errorf("it ended (%s) and then: %v", name, work)
		}
		status := Status(pod, &o, Node{}, at(102))
		state := status.ContainerStatuses[0].State
		if status.Phase != miniv1.PodFailed || status.Reason != miniv1.ReasonDeadlineExceeded || status.Message == "" || state.Terminated == nil {
			t.Errorf("it ended (%s): %+v", name, status)
		}
		if ready := meta.FindStatusCondition(status.Conditions, miniv1.ConditionReady); ready.Reason != miniv1.ReasonPodFailed {
			t.Errorf("it ended (%s): %+v", name, ready)
		}
		told := Troubles(&miniv1.MiniPodStatus{}, &status)
		if len(told) == 0 || told[0].Reason != miniv1.ReasonDeadlineExceeded {
			t.Errorf("told %v", told)
		}
	}
	once := limited(at(0), func(p *miniv1.MiniPod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	if status := Status(once, &o, Node{}, at(102)); status.Phase != miniv1.PodSucceeded && o.Containers[0].ExitCode == 0 {
		t.Errorf("one that ended well in its grace period: %+v", status)
	}
}

// One that has not started yet fails too, whatever it waits for.
func TestDeadlineBeforeTheStart(t *testing.T) {
	pod := limited(at(0))
	o := NewObservation()
	o.Begin(at(0))
	if work, _ := Split(Plan(pod, o, at(1))); len(work) == 0 {
		t.Error("it does nothing before its deadline")
	}
	if work, _ := Split(Plan(pod, o, at(100))); len(work) > 0 {
		t.Errorf("after it: %v", work)
	}
	if status := Status(pod, &o, Node{}, at(100)); status.Phase != miniv1.PodFailed || status.Summary != miniv1.ReasonDeadlineExceeded {
		t.Errorf("%+v", status)
	}
}
