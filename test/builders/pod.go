// Package builders makes objects for tests: short to write, and showing only what the test is about.
package builders

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
)

// PodBuilder builds a MiniPod with one container, "main", of image "echo:test".
type PodBuilder struct{ pod miniv1.MiniPod }

// Pod starts a MiniPod; its UID is "<namespace>/<name>".
func Pod(namespace, name string) *PodBuilder {
	return &PodBuilder{miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name)},
		Spec:       miniv1.MiniPodSpec{Containers: []miniv1.Container{{Name: "main", Image: "echo:test"}}},
	}}
}

// Labels sets the labels.
func (b *PodBuilder) Labels(labels map[string]string) *PodBuilder { b.pod.Labels = labels; return b }

// Requests sets what the container asks for, as in "200m", "16Mi"; empty means nothing.
func (b *PodBuilder) Requests(cpu, memory string) *PodBuilder {
	b.pod.Spec.Containers[0].Resources.Requests = list(cpu, memory)
	return b
}

// Limits sets what the container may use.
func (b *PodBuilder) Limits(cpu, memory string) *PodBuilder {
	b.pod.Spec.Containers[0].Resources.Limits = list(cpu, memory)
	return b
}

// Node binds the MiniPod to a node.
func (b *PodBuilder) Node(name string) *PodBuilder {
	b.pod.Status.NodeName = name
	if b.pod.Status.Phase == "" {
		b.pod.Status.Phase = miniv1.PodPending
	}
	return b
}

// Phase sets the phase.
func (b *PodBuilder) Phase(phase miniv1.MiniPodPhase) *PodBuilder {
	b.pod.Status.Phase = phase
	return b
}

// ReadySince makes the MiniPod run and be ready since that time.
func (b *PodBuilder) ReadySince(since time.Time) *PodBuilder {
	b.pod.Status.Phase = miniv1.PodRunning
	conditions.Set(&b.pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: miniv1.ReasonContainersReady, LastTransitionTime: metav1.NewTime(since)})
	return b
}

// Deleting marks the MiniPod as being deleted, held by the agent's finalizer.
func (b *PodBuilder) Deleting(since time.Time) *PodBuilder {
	t := metav1.NewTime(since)
	b.pod.DeletionTimestamp, b.pod.Finalizers = &t, []string{miniv1.AgentFinalizer}
	return b
}

// With changes anything else.
func (b *PodBuilder) With(change func(*miniv1.MiniPod)) *PodBuilder { change(&b.pod); return b }

// Obj is the MiniPod.
func (b *PodBuilder) Obj() *miniv1.MiniPod { return b.pod.DeepCopy() }

func list(cpu, memory string) corev1.ResourceList {
	out := corev1.ResourceList{}
	if cpu != "" {
		out[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		out[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return out
}
