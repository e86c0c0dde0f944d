package podworker

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// A write is counted once, by the weightiest of what it changed.
func TestWritesAreCountedByReason(t *testing.T) {
	ready := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: "X"}
	restarted := func(s *miniv1.MiniPodStatus) { s.Restarts++ }
	served := func(s *miniv1.MiniPodStatus) { meta.SetStatusCondition(&s.Conditions, ready); restarted(s) }
	reasons := []string{"phase", "ready", "restarts", "other"}
	count := func(why string) float64 { return testenv.Counted(t, "miniplane_agent_status_writes_total", why) }
	for want, change := range map[string]func(*miniv1.MiniPodStatus){
		"phase":    func(s *miniv1.MiniPodStatus) { s.Phase = miniv1.PodRunning; served(s) },
		"ready":    served,
		"restarts": restarted,
		"other":    func(s *miniv1.MiniPodStatus) { s.Summary = "x" },
	} {
		before := testPod().Obj()
		after := before.DeepCopy()
		change(&after.Status)
		counted := map[string]float64{}
		for _, why := range reasons {
			counted[why] = count(why)
		}
		(&Pool{Options: Options{Clock: clock.RealClock{}}}).measureWritten(before, after, t0)
		for _, why := range reasons {
			if got := count(why) - counted[why]; (got == 1) != (why == want) {
				t.Errorf("%s: %v were counted as %s", want, got, why)
			}
		}
	}
}
