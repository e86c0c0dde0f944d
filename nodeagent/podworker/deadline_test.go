package podworker

import (
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// At its deadline, which an agent's death does not move, a MiniPod is asked to end and has failed then; nothing is started again.
func TestDeadline(t *testing.T) {
	b := newBench(t)
	limit := int64(100)
	b.create("a", func(p *miniv1.MiniPod) { p.Spec.ActiveDeadlineSeconds = &limit })
	b.shows("a", "Running")
	b.pass(60 * time.Second)
	b.restart()
	b.shows("a", "Running")
	b.pass(39 * time.Second)
	if len(b.running()) != 1 {
		t.Fatal("it was ended before its deadline")
	}
	b.pass(time.Second)
	pod := b.get("a")
	b.until("it has failed", func() bool { pod = b.get("a"); return pod.Status.Phase == miniv1.PodFailed })
	if pod.Status.Reason != miniv1.ReasonDeadlineExceeded || pod.Status.Restarts != 0 || len(b.runtime.Calls(fake.OpCreate)) != 1 {
		t.Errorf("status %+v", pod.Status)
	}
	b.until("it holds nothing but its logs", func() bool { return b.sandboxes.Len() == 0 && len(b.containers()) == 0 })
	b.delete("a")
	b.gone("a")
}
