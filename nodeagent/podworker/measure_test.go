package podworker

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// A MiniPod whose emptyDir takes more than it may is ended, in a native Pod's words, and nothing of it is started again; also where the agent dies in between.
func TestEviction(t *testing.T) {
	b := newBench(t)
	limit := resource.MustParse("1Gi")
	b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "x", EmptyDir: &miniv1.EmptyDirVolumeSource{SizeLimit: &limit}}, {Name: "y", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
	})
	b.shows("a", "Running")
	b.volumes.Use(map[string]int64{"x": 1 << 30, "y": 1 << 40})
	b.pass(measureEvery)
	b.shows("a", "Running")
	b.volumes.Use(map[string]int64{"x": 1<<30 + 1})
	b.restart() // and it is looked at once
	pod := b.get("a")
	b.until("it is evicted", func() bool { pod = b.get("a"); return pod.Status.Phase == miniv1.PodFailed })
	if want := `Usage of EmptyDir volume "x" exceeds the limit "1Gi".`; pod.Status.Reason != miniv1.ReasonEvicted || pod.Status.Message != want ||
		pod.Status.Summary != miniv1.ReasonEvicted || len(b.runtime.Calls(fake.OpCreate)) != 1 {
		t.Errorf("status %+v", pod.Status)
	}
	if target := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionDisruptionTarget); target != nil {
		t.Errorf("it broke its own limit, and nobody disrupts it: %+v", target)
	}
	b.until("it holds nothing but its logs", func() bool { return b.sandboxes.Len() == 0 && len(b.containers()) == 0 })
	b.delete("a")
	b.gone("a")
}
