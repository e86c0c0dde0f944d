package podplan

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The classes that a native Pod of the same resources has.
func TestQOSClass(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		if cpu != "" {
			out[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			out[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return out
	}
	whole := miniv1.ResourceRequirements{Limits: list("1", "1Mi")}
	for _, c := range []struct {
		name string
		is   []miniv1.ResourceRequirements // of each container, an init container last
		want corev1.PodQOSClass
	}{
		{"nothing", []miniv1.ResourceRequirements{{}, {}}, corev1.PodQOSBestEffort},
		{"zeros", []miniv1.ResourceRequirements{{Requests: list("0", "0")}, {}}, corev1.PodQOSBestEffort},
		{"limits alone", []miniv1.ResourceRequirements{whole, whole}, corev1.PodQOSGuaranteed},
		{"requests that are the limits", []miniv1.ResourceRequirements{{Limits: list("1", "1Mi"), Requests: list("1000m", "1024Ki")}, whole}, corev1.PodQOSGuaranteed},
		{"requests below the limits", []miniv1.ResourceRequirements{{Limits: list("1", "1Mi"), Requests: list("500m", "")}, whole}, corev1.PodQOSBurstable},
		{"a request alone", []miniv1.ResourceRequirements{{Requests: list("", "1Mi")}, {}}, corev1.PodQOSBurstable},
		{"no limit of memory", []miniv1.ResourceRequirements{{Limits: list("1", "")}, whole}, corev1.PodQOSBurstable},
		{"an init container without", []miniv1.ResourceRequirements{whole, {}}, corev1.PodQOSBurstable},
	} {
		spec := &miniv1.MiniPodSpec{}
		last := len(c.is) - 1
		for _, r := range c.is[:last] {
			spec.Containers = append(spec.Containers, miniv1.Container{Resources: r})
		}
		spec.InitContainers = []miniv1.Container{{Resources: c.is[last]}}
		if got := qosClass(spec); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
