package noderesources_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/noderesources"
	"miniplane.dev/miniplane/test/builders"
)

const gi = 1 << 30

func node(used resources.Amounts, pods int64) *framework.NodeInfo {
	return &framework.NodeInfo{Spec: &framework.NodeSpec{Allocatable: resources.Amounts{MilliCPU: 1000, MemoryBytes: gi}, MaxPods: 10},
		Used: used, Weight: used, Pods: pods}
}

func TestFit(t *testing.T) {
	cases := []struct {
		name        string
		cpu, memory string
		node        *framework.NodeInfo
		want        framework.Reason
	}{
		{"room", "500m", "512Mi", node(resources.Amounts{}, 0), framework.Reason{}},
		{"exactly", "1", "1Gi", node(resources.Amounts{}, 9), framework.Reason{}},
		{"cpu", "500m", "", node(resources.Amounts{MilliCPU: 900}, 0), framework.Reason{Code: framework.InsufficientCPU, Asks: 500, Free: 100}},
		{"memory", "", "1Gi", node(resources.Amounts{MemoryBytes: 1}, 0),
			framework.Reason{Code: framework.InsufficientMemory, Asks: gi, Free: gi - 1}},
		{"places", "", "", node(resources.Amounts{}, 10), framework.Reason{Code: framework.TooManyPods, Asks: 1, Free: 10}},
		{"over-used, asks for nothing", "", "", node(resources.Amounts{MilliCPU: 2000}, 1), framework.Reason{}},
		{"over-used", "1m", "", node(resources.Amounts{MilliCPU: 2000}, 1), framework.Reason{Code: framework.InsufficientCPU, Asks: 1, Free: -1000}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := framework.NewPod(builders.Pod("a", "p").Requests(c.cpu, c.memory).Obj())
			if diff := cmp.Diff(c.want, noderesources.Fit{}.Filter(pod, c.node)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLeastRequested(t *testing.T) {
	cases := []struct {
		name        string
		cpu, memory string
		used        resources.Amounts
		want        int64
	}{
		{"half of both", "500m", "512Mi", resources.Amounts{}, framework.MaxScore / 2},
		{"all", "1", "1Gi", resources.Amounts{}, 0},
		{"cpu alone", "1", "256Mi", resources.Amounts{}, framework.MaxScore * 3 / 8},
		{"nothing asked weighs a little", "", "", resources.Amounts{}, (900_000 + 804_687) / 2},
		{"more than there is", "1", "1Gi", resources.Amounts{MilliCPU: 500, MemoryBytes: gi / 2}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := framework.NewPod(builders.Pod("a", "p").Requests(c.cpu, c.memory).Obj())
			if got := (noderesources.LeastRequested{}).Score(pod, node(c.used, 0)); got != c.want {
				t.Errorf("score %d, want %d", got, c.want)
			}
		})
	}
	if got := (noderesources.LeastRequested{}).Score(&framework.Pod{}, &framework.NodeInfo{Spec: &framework.NodeSpec{}}); got != 0 {
		t.Errorf("a node with nothing scores %d", got)
	}
}
