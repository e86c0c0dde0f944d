package e2e

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// A MiniPod shows where the time of its start went. Scheduler and agents of a test's cluster have one clock.
func TestStartTimeline(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: timed}
spec:
  initContainers:
  - {name: first, image: `+imageV1+`, command: [/echo, -h]}
  containers:
  - name: echo
    image: `+imageV1+`
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`)
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/timed")
	var told miniv1.StartTimeline
	if err := json.Unmarshal([]byte(kubectl(t, ns, "get", "minipod", "timed", "-o", "jsonpath={.status.startTimeline}")), &told); err != nil {
		t.Fatal(err)
	}
	var last *metav1.MicroTime
	for i, point := range []*metav1.MicroTime{told.QueuedTime, told.ScheduledTime, told.ObservedTime, told.SandboxTime, told.InitializedTime, told.ImagesTime,
		told.StartedTime, told.ReadyTime} {
		if point == nil {
			t.Fatalf("point %d is missing: %+v", i, told)
		}
		if last != nil && point.Before(last) {
			t.Errorf("point %d, %s, is before the one that it follows, %s", i, point, last)
		}
		last = point
	}
	if took := told.ReadyTime.Sub(told.QueuedTime.Time); took <= 0 || took > patience {
		t.Errorf("it took %s", took)
	}
}
