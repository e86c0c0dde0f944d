package podsecurity

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// AsPod writes a MiniPod as the native Pod that it would be. A field that core/v1 does not know is an error, never left out, but for
// those of our own that say nothing about security.
func AsPod(pod *miniv1.MiniPod) (*metav1.ObjectMeta, *corev1.PodSpec, error) {
	text, err := json.Marshal(withoutOwn(&pod.WithAPIAccess().Spec))
	if err != nil {
		return nil, nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	spec := &corev1.PodSpec{}
	if err := decoder.Decode(spec); err != nil {
		return nil, nil, fmt.Errorf("spec: %w", err)
	}
	return &pod.ObjectMeta, spec, nil
}

// withoutOwn is the spec without fields that a native Pod does not have: how often a probe asks is nobody's danger.
func withoutOwn(spec *miniv1.MiniPodSpec) *miniv1.MiniPodSpec {
	own := false
	for _, c := range spec.AllContainers() {
		for _, probe := range c.Probes() {
			own = own || probe.PeriodMilliseconds != 0
		}
	}
	if !own {
		return spec
	}
	spec = spec.DeepCopy()
	for _, c := range spec.AllContainers() {
		for _, probe := range c.Probes() {
			probe.PeriodMilliseconds = 0
		}
	}
	return spec
}
