package podstate_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/builders"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestAnswers(t *testing.T) {
	type answers struct{ bound, finished, deleting, active, room, quota, ready bool }
	tests := map[string]struct {
		pod  *builders.PodBuilder
		want answers
	}{
		"new":             {builders.Pod("ns", "p"), answers{active: true}},
		"bound":           {builders.Pod("ns", "p").Node("n"), answers{bound: true, active: true, room: true, quota: true}},
		"ready":           {builders.Pod("ns", "p").Node("n").ReadySince(now), answers{bound: true, active: true, room: true, quota: true, ready: true}},
		"being deleted":   {builders.Pod("ns", "p").Node("n").Deleting(now), answers{bound: true, deleting: true, room: true, quota: true}},
		"given up":        {builders.Pod("ns", "p").Node("n").Deleting(now).With(quotaReleased), answers{bound: true, deleting: true, room: true}},
		"not deleted":     {builders.Pod("ns", "p").Node("n").With(quotaReleased), answers{bound: true, active: true, room: true, quota: true}},
		"succeeded":       {builders.Pod("ns", "p").Node("n").Phase(miniv1.PodSucceeded), answers{bound: true, finished: true}},
		"failed":          {builders.Pod("ns", "p").Node("n").Phase(miniv1.PodFailed), answers{bound: true, finished: true}},
		"let go of":       {builders.Pod("ns", "p").Node("n").Deleting(now).With(heldByAnother), answers{bound: true, deleting: true}},
		"deleted unbound": {builders.Pod("ns", "p").Deleting(now), answers{deleting: true}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod := tc.pod.Obj()
			got := answers{podstate.IsBound(pod), podstate.IsFinished(pod), podstate.IsDeleting(pod), podstate.IsActive(pod),
				podstate.HoldsRoom(pod), podstate.HoldsQuota(pod), podstate.IsReady(pod)}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func heldByAnother(pod *miniv1.MiniPod) { pod.Finalizers = []string{miniv1.JobFinalizer} }

func TestMayBeThere(t *testing.T) {
	held := func(finalizers ...string) func(*miniv1.MiniPod) {
		return func(pod *miniv1.MiniPod) { pod.Finalizers = finalizers }
	}
	for name, test := range map[string]struct {
		pod  *builders.PodBuilder
		want bool
	}{
		"unbound":                    {builders.Pod("ns", "p"), false},
		"bound":                      {builders.Pod("ns", "p").Node("n"), true},
		"ended":                      {builders.Pod("ns", "p").Node("n").Phase(miniv1.PodFailed), true},
		"being deleted":              {builders.Pod("ns", "p").Node("n").Deleting(now).With(held("other", miniv1.AgentFinalizer)), true},
		"let go of, kept by another": {builders.Pod("ns", "p").Node("n").Deleting(now).With(held("other")), false},
	} {
		if got := podstate.MayBeThere(test.pod.Obj()); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func quotaReleased(pod *miniv1.MiniPod) {
	conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionQuotaReleased, Status: metav1.ConditionTrue, Reason: miniv1.ReasonNodeLost})
}

func TestIsAvailable(t *testing.T) {
	tests := map[string]struct {
		pod       *builders.PodBuilder
		minReady  time.Duration
		available bool
		wait      time.Duration
	}{
		"not ready":          {builders.Pod("ns", "p"), 0, false, 0},
		"ready, at once":     {builders.Pod("ns", "p").ReadySince(now), 0, true, 0},
		"ready, too short":   {builders.Pod("ns", "p").ReadySince(now.Add(-3 * time.Second)), 10 * time.Second, false, 7 * time.Second},
		"ready, long enough": {builders.Pod("ns", "p").ReadySince(now.Add(-10 * time.Second)), 10 * time.Second, true, 0},
		"a clock that lags":  {builders.Pod("ns", "p").ReadySince(now.Add(time.Second)), 0, true, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			available, wait := podstate.IsAvailable(tc.pod.Obj(), tc.minReady, now)
			if available != tc.available || wait != tc.wait {
				t.Errorf("got %v, %v; want %v, %v", available, wait, tc.available, tc.wait)
			}
		})
	}
}
