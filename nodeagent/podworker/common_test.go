package podworker

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/test/builders"
)

const testUID = "11111111-2222-3333-4444-555555555555"

var (
	t0          = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	testMachine = Machine{NodeName: "n1", NodeIP: "10.0.0.1", PodMaxPIDs: 321}
)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// testPod is bound to node n1 and has one container.
func testPod() *builders.PodBuilder {
	return builders.Pod("ns", "web").Node("n1").With(func(p *miniv1.MiniPod) {
		p.UID = testUID
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	})
}

func policy(p corev1.RestartPolicy) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) { pod.Spec.RestartPolicy = p }
}

// seen is a view of all that containers stand on.
func seen() view {
	v := newView()
	v.Begin(t0)
	v.setBox(&sandbox.Sandbox{PodUID: testUID, PausePID: 7, Namespaces: runtime.Namespaces{Net: "/net", IPC: "/ipc", UTS: "/uts"},
		SharedMemory: "/shm", Files: "/files"})
	v.Address = netip.MustParseAddr("100.64.0.9")
	return v
}

// What a plan reads of a container is what the runtime has of it, whoever made it: its labels are made by this agent or an earlier one.
func TestContainerOf(t *testing.T) {
	pod := testPod().Obj()
	c := &pod.Spec.Containers[0]
	got := containerOf(runtime.Container{ID: "i", Labels: labelsFor(pod, c, "box-1", 3, 2), Image: "echo:test", ImageID: "sha256:1", State: runtime.StateExited,
		PID: 7, CreatedAt: at(-1), StartedAt: at(0), FinishedAt: at(1), ExitCode: 5, OOMKilled: true, ServerFailed: true})
	want := podplan.Container{ID: "i", Name: "main", Attempt: 3, Crashes: 2, SpecHash: podplan.SpecHash(c), Image: "echo:test", ImageID: "sha256:1",
		State: podplan.StateExited, StartedAt: at(0), FinishedAt: at(1), ExitCode: 5, OOMKilled: true, ServerFailed: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	states := map[runtime.State]podplan.State{runtime.StateCreated: podplan.StateCreated, runtime.StateRunning: podplan.StateRunning,
		runtime.StateExited: podplan.StateExited, runtime.StateUnknown: podplan.StateUnknown, runtime.StateUnanswered: podplan.StateUnanswered}
	for state, want := range states {
		if got := containerOf(runtime.Container{State: state}).State; got != want {
			t.Errorf("%s is %s", state, got)
		}
	}
}

// The hash of a spec is in the labels of containers that run. Where another version of the agent found another one, it would replace
// them all.
func TestSpecHashStays(t *testing.T) {
	if got := podplan.SpecHash(&miniv1.Container{Name: "x", Image: "nginx:1.27", Args: []string{"y"}}); got != "cd4495bb73de9b01" {
		t.Errorf("%s: every container of every node would be replaced", got)
	}
}

func TestBox(t *testing.T) {
	whole := sandbox.Sandbox{PausePID: 7, Namespaces: runtime.Namespaces{Net: "/net", IPC: "/ipc", UTS: "/uts"}, Files: "/files"}
	without := func(change func(*sandbox.Sandbox)) *sandbox.Sandbox {
		box := whole
		change(&box)
		return &box
	}
	for name, c := range map[string]struct {
		box  *sandbox.Sandbox
		want podplan.SandboxState
	}{
		"none":       {nil, podplan.SandboxNone},
		"whole":      {&whole, podplan.SandboxWhole},
		"dead pause": {without(func(b *sandbox.Sandbox) { b.PausePID = 0 }), podplan.SandboxHalf},
		"no net":     {without(func(b *sandbox.Sandbox) { b.Namespaces.Net = "" }), podplan.SandboxHalf},
		"no ipc":     {without(func(b *sandbox.Sandbox) { b.Namespaces.IPC = "" }), podplan.SandboxHalf},
		"no uts":     {without(func(b *sandbox.Sandbox) { b.Namespaces.UTS = "" }), podplan.SandboxHalf},
		"no files":   {without(func(b *sandbox.Sandbox) { b.Files = "" }), podplan.SandboxHalf},
	} {
		v := newView()
		if v.setBox(c.box); v.Sandbox != c.want || v.Gone.Sandbox != (c.box == nil) || v.box != c.box {
			t.Errorf("%s: %+v", name, v)
		}
		o := newView()
		if o.take(&v); o.Sandbox != c.want || o.box != c.box {
			t.Errorf("%s, by a look: %+v", name, o)
		}
	}
}

// A MiniPod is bounded by its sandbox, before its first container is there.
func TestSandboxIsBounded(t *testing.T) {
	b := newBench(t)
	pod := b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("70m")}
	})
	b.shows("a", "Running")
	got := b.sandboxes.Spec(string(pod.UID))
	want := sandbox.Spec{PodUID: string(pod.UID), Hostname: "a", CgroupPath: b.layout.podCgroup(pod.UID), CPUMillis: 70, MaxPIDs: testMachine.PodMaxPIDs}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sandbox (-want +got):\n%s", diff)
	}
}
