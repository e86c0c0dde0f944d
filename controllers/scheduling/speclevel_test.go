package scheduling_test

import (
	"context"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

// agent has a version of the agent speak for a node, as its heartbeat does.
func (w *world) agent(node, patch string) {
	w.t.Helper()
	mini := &miniv1.MiniNode{}
	w.must(w.c.Get(context.Background(), client.ObjectKey{Name: node}, mini))
	w.must(w.c.Status().Patch(context.Background(), mini, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"nodeInfo":`+patch+`}}`))))
}

// An agent that does not know init containers would start the others without them. It is given none, also where one before it knew them.
func TestOldAgentsGetNoInitContainers(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "2")
	w.agent("n1", `{"agentVersion":"v1","specLevel":1,"specLevelOf":"v2"}`)
	w.start()
	w.create(builders.Pod("", "plain").With(owned).Obj())
	w.untilBound("plain")
	w.create(builders.Pod("", "web").With(owned).With(func(p *miniv1.MiniPod) {
		p.Spec.InitContainers = []miniv1.Container{{Name: "first", Image: "i"}, {Name: "side", Image: "i", RestartPolicy: "Always"}}
	}).Obj())
	w.untilWaiting("web", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 node is of an older agent, which does not know spec.initContainers.")
	w.agent("n1", `{"agentVersion":"v2"}`)
	pod := w.untilBound("web")
	if pod.Status.Summary != "Init:0/2" || pod.Status.ReadyContainers != "0/2" {
		t.Errorf("summary %q, ready %q", pod.Status.Summary, pod.Status.ReadyContainers)
	}
}
