package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// StartTimeline tells when a MiniPod reached the points of its first start, with microseconds. Points that it has not reached, or that nobody
// saw, are missing. The first two are by the clock of the machine of the scheduler, the others by that of the node.
type StartTimeline struct {
	// queuedTime is when the scheduler first saw the MiniPod.
	// +optional
	QueuedTime *metav1.MicroTime `json:"queuedTime,omitempty"`

	// scheduledTime is when a node was chosen for it.
	// +optional
	ScheduledTime *metav1.MicroTime `json:"scheduledTime,omitempty"`

	// observedTime is when the agent of the node first saw it.
	// +optional
	ObservedTime *metav1.MicroTime `json:"observedTime,omitempty"`

	// sandboxTime is when it had its sandbox and its address.
	// +optional
	SandboxTime *metav1.MicroTime `json:"sandboxTime,omitempty"`

	// initializedTime is when its init containers were passed; missing where it has none.
	// +optional
	InitializedTime *metav1.MicroTime `json:"initializedTime,omitempty"`

	// imagesTime is when the images of all its containers were on the node.
	// +optional
	ImagesTime *metav1.MicroTime `json:"imagesTime,omitempty"`

	// startedTime is when all its containers had been started.
	// +optional
	StartedTime *metav1.MicroTime `json:"startedTime,omitempty"`

	// readyTime is when it could serve.
	// +optional
	ReadyTime *metav1.MicroTime `json:"readyTime,omitempty"`
}
