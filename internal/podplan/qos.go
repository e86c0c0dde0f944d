package podplan

import (
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/resources"
)

// qosClass is a native Pod's quality of service: Guaranteed if what each container may have of cpu and memory is set aside for it, BestEffort if nothing
// is said of any, and Burstable in between.
func qosClass(spec *miniv1.MiniPodSpec) corev1.PodQOSClass {
	guaranteed, anything := true, false
	for _, c := range spec.AllContainers() {
		limits, requests := resources.ContainerLimits(c), resources.ContainerRequests(c)
		anything = anything || limits != resources.Amounts{} || requests != resources.Amounts{}
		guaranteed = guaranteed && limits.MilliCPU > 0 && limits.MemoryBytes > 0 && limits == requests
	}
	switch {
	case !anything:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
