package podworker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

// A MiniPod in the node's network has the node's address, which nobody gave it: it is attached to nothing, looks at the machine change nothing,
// and its ports are its program's business. A new agent sees the same.
func TestInTheNodesNetwork(t *testing.T) {
	b := newBench(t)
	b.setTaken(hostports.Taken{{Protocol: "tcp", Number: 80}: "a program of the node"})
	b.network.Fail = func(op, _ string) error {
		if op == "Attach" {
			t.Error("it is attached to the network")
		}
		return nil
	}
	pod := b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.HostNetwork = true
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{ContainerPort: 80}}
	})
	now := b.shows("a", "Running")
	if now.Status.PodIP != testMachine.NodeIP {
		t.Errorf("address %s", now.Status.PodIP)
	}
	if got := b.sandboxes.Spec(string(pod.UID)).Shape; got != (sandbox.Shape{HostNetwork: true}) {
		t.Errorf("sandbox %+v", got)
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	box, _ := b.sandboxes.List(t.Context())
	if text, err := os.ReadFile(filepath.Join(box[0].Files, "hosts")); err != nil || string(text) != "# Written by miniplane (host network).\n"+string(hosts) {
		t.Errorf("hosts: %v\n%s", err, text)
	}
	for range 2 {
		b.restart()
		if err := b.pool.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.network.Fail = nil
	b.create("b")
	b.shows("b", "Running")
	if now := b.get("a"); now.Status.PodIP != testMachine.NodeIP || now.Status.Restarts != 0 {
		t.Errorf("after looks: %+v", now.Status)
	}
	for _, name := range []string{"b", "a"} {
		b.delete(name)
	}
	b.gone("a")
}

// What was made in another shape, by an agent that did not know the MiniPod's, is made anew.
func TestSuit(t *testing.T) {
	pod := testPod().With(func(p *miniv1.MiniPod) { p.Spec.HostNetwork = true }).Obj()
	v := seen()
	if v.suit(pod, "10.0.0.1"); v.Sandbox != "Half" || v.Address.String() == "10.0.0.1" {
		t.Errorf("another shape: %+v", v)
	}
	v = seen()
	v.box.HostNetwork = true
	if v.suit(pod, "10.0.0.1"); v.Sandbox != "Whole" || v.Address.String() != "10.0.0.1" {
		t.Errorf("its shape: %+v", v)
	}
	v = seen()
	if v.suit(testPod().Obj(), "10.0.0.1"); v.Sandbox != "Whole" || v.Address.String() != "100.64.0.9" {
		t.Errorf("a plain one: %+v", v)
	}
}

// What containers join, and what they have as shared memory.
func TestNamespacesOfContainers(t *testing.T) {
	box := seen().box
	box.Namespaces.PID = "/pid"
	for name, c := range map[string]struct {
		change func(*miniv1.MiniPod)
		pid    string
		shm    string
	}{
		"own":      {func(*miniv1.MiniPod) {}, "/pid", "/shm"},
		"the host": {func(p *miniv1.MiniPod) { p.Spec.HostPID, p.Spec.HostIPC = true, true }, runtime.HostPID, "/dev/shm"},
	} {
		pod := testPod().With(c.change).Obj()
		if got := namespacesOf(pod, box).PID; got != c.pid {
			t.Errorf("%s: PID %q", name, got)
		}
		var shm []string
		for _, m := range mountsOf(pod, box, &pod.Spec.Containers[0], false) {
			if m.ContainerPath == "/dev/shm" {
				shm = append(shm, m.HostPath)
			}
		}
		if strings.Join(shm, " ") != c.shm {
			t.Errorf("%s: /dev/shm is %v", name, shm)
		}
	}
}
