package e2e

import (
	"strings"
	"testing"

	"miniplane.dev/miniplane/test/requests"
)

// writes counts the writes of a resource that the API server has answered.
func writes(t *testing.T, resource string) float64 {
	t.Helper()
	n, err := requests.Writes(t.Context(), restConfig, resource)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A MiniPod's whole life costs the API server at most five writes and one Event: create, bind, Running, delete, finalizer.
func TestWritesPerMiniPod(t *testing.T) {
	long(t)
	const n = 30
	ns := namespace(t)
	beforePods, beforeEvents := writes(t, "minipods"), writes(t, "events")
	apply(t, ns, strings.Replace(deployment("web", n, imageV1), "kind: MiniDeployment", "kind: MiniReplicaSet", 1))
	waitReady(t, ns, n, 2*patience)
	kubectl(t, ns, "scale", "mrs/web", "--replicas=0")
	waitReady(t, ns, 0, 2*patience)
	perPod := (writes(t, "minipods") - beforePods) / n
	eventsPerPod := (writes(t, "events") - beforeEvents) / n
	t.Logf("%.2f writes and %.2f Events per MiniPod", perPod, eventsPerPod)
	if perPod > 5 {
		t.Errorf("%.2f writes per MiniPod, want at most 5", perPod)
	}
	if eventsPerPod > 1 {
		t.Errorf("%.2f Events per MiniPod, want at most 1", eventsPerPod)
	}
}
