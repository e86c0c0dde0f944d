package resources

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// asks is a container of a kind that asks for so much.
type asks struct {
	kind           miniv1.ContainerKind
	milliCPU, mebi int64
}

// specOf has the containers in the lists of their kinds.
func specOf(list []asks) *miniv1.MiniPodSpec {
	spec := &miniv1.MiniPodSpec{}
	for _, a := range list {
		requests := corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(a.milliCPU, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(a.mebi<<20, resource.BinarySI)}
		c := miniv1.Container{Resources: miniv1.ResourceRequirements{Requests: requests}}
		switch a.kind {
		case miniv1.ContainerMain:
			spec.Containers = append(spec.Containers, c)
			continue
		case miniv1.ContainerSidecar:
			c.RestartPolicy = corev1.ContainerRestartPolicyAlways
		}
		spec.InitContainers = append(spec.InitContainers, c)
	}
	return spec
}

func TestPeak(t *testing.T) {
	const initial, sidecar, main = miniv1.ContainerInit, miniv1.ContainerSidecar, miniv1.ContainerMain
	for name, c := range map[string]struct {
		list []asks
		want Amounts
	}{
		"nothing":                          {nil, Amounts{}},
		"main ones run beside each other":  {[]asks{{main, 1, 2}, {main, 10, 20}}, Amounts{11, 22 << 20}},
		"a small init container is free":   {[]asks{{initial, 5, 5}, {main, 10, 10}}, Amounts{10, 10 << 20}},
		"a large one is what counts":       {[]asks{{initial, 50, 5}, {main, 10, 10}}, Amounts{50, 10 << 20}},
		"init containers come one by one":  {[]asks{{initial, 20, 1}, {initial, 30, 1}, {main, 10, 1}}, Amounts{30, 1 << 20}},
		"a sidecar runs beside the main":   {[]asks{{sidecar, 5, 5}, {main, 10, 10}}, Amounts{15, 15 << 20}},
		"and beside the inits that follow": {[]asks{{sidecar, 5, 1}, {initial, 20, 1}, {main, 10, 1}}, Amounts{25, 2 << 20}},
		"but not those before it":          {[]asks{{initial, 20, 1}, {sidecar, 5, 1}, {main, 10, 1}}, Amounts{20, 2 << 20}},
		"sidecars alone, larger than main": {[]asks{{sidecar, 5, 1}, {sidecar, 7, 1}, {main, 0, 0}}, Amounts{12, 2 << 20}},
		"each resource has its own hungriest": {[]asks{{initial, 90, 1}, {initial, 1, 80}, {sidecar, 3, 3}, {main, 10, 10}},
			Amounts{90, 80 << 20}},
		"all together": {[]asks{{initial, 10, 1}, {sidecar, 4, 1}, {initial, 30, 1}, {sidecar, 2, 1}, {initial, 20, 1}, {main, 8, 1}, {main, 9, 1}},
			Amounts{34, 4 << 20}},
	} {
		if diff := cmp.Diff(c.want, Requests(specOf(c.list))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whatever the containers, the peak is the rule as Kubernetes writes it down: of each init container its amount and that of the
// sidecars before it, of all together the largest, and no less than all that last.
func TestPeakIsNative(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var list []asks
		var sum, most int64
		for i := range 1 + random.IntN(6) {
			kind, cpu := miniv1.ContainerInit, int64(random.IntN(100))
			if random.IntN(2) == 0 {
				kind = miniv1.ContainerSidecar
			}
			list = append(list, asks{kind, cpu, 0})
			use := cpu
			for _, before := range list[:i] {
				if before.kind == miniv1.ContainerSidecar {
					use += before.milliCPU
				}
			}
			most = max(most, use)
			if kind == miniv1.ContainerSidecar {
				sum += cpu
			}
		}
		for range 1 + random.IntN(3) {
			a := asks{miniv1.ContainerMain, int64(random.IntN(100)), 0}
			list, sum = append(list, a), sum+a.milliCPU
		}
		if got := Requests(specOf(list)).MilliCPU; got != max(most, sum) {
			t.Fatalf("%v: %d, want %d", list, got, max(most, sum))
		}
	}
}
