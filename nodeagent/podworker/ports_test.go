package podworker

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/hostports"
)

func hostPort(port int32) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{ContainerPort: 80, HostPort: port}}
	}
}

func (b *bench) setTaken(taken hostports.Taken) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = taken
}

func (b *bench) looked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.looks
}

// A MiniPod whose host port is somebody else's gets nothing on the node, and says why, until the port is free.
func TestTakenHostPorts(t *testing.T) {
	b := newBench(t)
	b.setTaken(hostports.Taken{{Protocol: "tcp", Number: 8080}: "a program of the node"})
	b.create("plain")
	b.shows("plain", "Running")
	if n := b.looked(); n != 0 {
		t.Errorf("%d looks for a MiniPod without host ports", n)
	}
	b.create("other port", hostPort(8081))
	b.shows("other port", "Running")
	if n := b.looked(); n != 1 {
		t.Errorf("%d looks for one start", n)
	}
	b.create("taken", hostPort(8080))
	pod := b.shows("taken", miniv1.ReasonHostPortTaken)
	says := pod.Status.ContainerStatuses[0].State.Waiting.Message
	if !strings.Contains(says, "port 8080/tcp of this node is that of a program of the node") || pod.Status.PodIP != "" {
		t.Errorf("address %q, says %q", pod.Status.PodIP, says)
	}
	if admitted := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionAdmitted); admitted == nil || admitted.Reason != miniv1.ReasonHostPortTaken {
		t.Errorf("condition %+v", admitted)
	}
	// What runs keeps its port, whoever listens now, also under another agent.
	b.setTaken(hostports.Taken{{Protocol: "tcp", Number: 8081}: "a program of the node"})
	b.restart()
	b.shows("taken", "Running")
	b.shows("other port", "Running")
	b.create("late", hostPort(8081))
	b.shows("late", miniv1.ReasonHostPortTaken)
	b.setTaken(nil)
	b.pass(portsAgain)
	pod = b.shows("late", "Running")
	if meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionAdmitted) != nil {
		t.Error("the condition is still there")
	}
}
