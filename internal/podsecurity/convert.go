package podsecurity

import (
	"bytes"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// AsPod writes a MiniPod as the native Pod that it would be. Every field that a MiniPod has is core/v1's, so nothing is lost;
// one that core/v1 does not know is an error, never left out.
func AsPod(pod *miniv1.MiniPod) (*metav1.ObjectMeta, *corev1.PodSpec, error) {
	text, err := json.Marshal(&pod.Spec)
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
