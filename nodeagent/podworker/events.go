package podworker

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podplan"
)

// What the agent was doing when there is something to tell: events.k8s.io asks for it.
const (
	actionStart = "StartContainer"
	actionProbe = "ProbeContainer"
	actionEnd   = "EndContainer"
)

// tell writes an Event for each new trouble, after the status that shows it was stored.
func tell(recorder events.EventRecorder, before, after *miniv1.MiniPod) {
	if recorder == nil {
		return
	}
	for _, t := range podplan.Troubles(&before.Status, &after.Status) {
		recorder.Eventf(after, nil, corev1.EventTypeWarning, t.Reason, actionStart, "%s", conditions.Note(t.Note))
	}
}
