package podworker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

func TestLife(t *testing.T) {
	b := newBench(t)
	b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.Containers = append(p.Spec.Containers, miniv1.Container{Name: "b", Image: "echo:2"})
	})
	pod := b.shows("a", "Running")
	if pod.Status.ReadyContainers != "2/2" || pod.Status.PodIP != "100.64.0.2" || pod.Status.HostIP != testMachine.NodeIP {
		t.Errorf("status %+v", pod.Status)
	}
	b.delete("a")
	b.gone("a")
	if diff := cmp.Diff([]string{"status", "finalizer"}, b.written()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if lists := b.runtime.Calls(fake.OpList); len(lists) > 200 {
		t.Errorf("%d lists", len(lists))
	}
	b.until("the worker ends", func() bool {
		b.pool.mu.Lock()
		defer b.pool.mu.Unlock()
		return len(b.pool.workers) == 0
	})
}

func TestGracePeriod(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{IgnoresTerm: true} })
	b.create("a")
	b.shows("a", "Running")
	b.delete("a")
	b.until("it was asked to end", func() bool { return len(b.runtime.Calls(fake.OpKill)) == 1 })
	if len(b.running()) != 1 {
		t.Fatal("it ignores SIGTERM")
	}
	b.change("a", func(p *miniv1.MiniPod) { grace := int64(0); p.Spec.TerminationGracePeriodSeconds = &grace })
	b.gone("a")
}

func TestRestartBackoff(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.exit(1)
	b.until("restarted at once", func() bool { p := b.get("a"); return p.Status.Restarts == 1 && p.Status.Summary == "Running" })
	b.exit(1)
	b.shows("a", miniv1.ReasonCrashLoopBackOff)
	b.restart() // the back-off survives the agent
	b.pass(9 * time.Second)
	if len(b.running()) != 0 {
		t.Error("restarted too early")
	}
	b.pass(time.Second)
	pod := b.shows("a", "Running")
	if pod.Status.Restarts != 2 || pod.Status.ContainerStatuses[0].LastState.Terminated.ExitCode != 1 {
		t.Errorf("status %+v", pod.Status)
	}
	b.until("only two are kept", func() bool { return len(b.containers()) == 2 })
	b.clock.Step(10 * time.Minute)
	b.exit(0)
	b.until("restarted at once after ten good minutes", func() bool { return b.get("a").Status.Restarts == 3 })
}

// TestServerFails: what ends because its server failed is started again at once, as often as that happens, and the status says so.
// Crashes of its own are counted as before.
func TestServerFails(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	for i := range 3 {
		b.until("one runs", func() bool { return len(b.running()) == 1 })
		if err := b.runtime.FailServer(b.running()[0]); err != nil {
			t.Fatal(err)
		}
		b.until("restarted at once", func() bool {
			p := b.get("a")
			return int(p.Status.Restarts) == i+1 && p.Status.Summary == "Running"
		})
		if last := b.get("a").Status.ContainerStatuses[0].LastState.Terminated; last.Reason != miniv1.ReasonShimFailed || last.Message == "" {
			t.Errorf("last state %+v", last)
		}
	}
	b.exit(1)
	b.until("the first crash has no back-off", func() bool { return b.get("a").Status.Restarts == 4 })
	b.exit(1)
	b.shows("a", miniv1.ReasonCrashLoopBackOff)
}

func TestFinished(t *testing.T) {
	b := newBench(t)
	b.create("a", policy(corev1.RestartPolicyNever))
	b.shows("a", "Running")
	b.exit(3)
	pod := b.shows("a", "Error")
	if pod.Status.Phase != miniv1.PodFailed || pod.Status.ContainerStatuses[0].State.Terminated.ExitCode != 3 {
		t.Errorf("status %+v", pod.Status)
	}
	b.until("it holds nothing but its logs", func() bool { return b.sandboxes.Len() == 0 && len(b.containers()) == 0 })
	b.restart()
	b.delete("a")
	b.gone("a")
}

func TestImageChange(t *testing.T) {
	b := newBench(t)
	b.create("a")
	before := b.shows("a", "Running").Status.PodIP
	b.change("a", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "echo:2" })
	b.until("the new image runs", func() bool {
		p := b.get("a")
		return p.Status.ContainerStatuses[0].Image == "echo:2" && p.Status.Summary == "Running"
	})
	if p := b.get("a"); p.Status.PodIP != before || p.Status.Restarts != 1 {
		t.Errorf("status %+v", p.Status)
	}
}

func TestAgentRestartTouchesNothing(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a", "b", "c"} {
		b.create(name)
		b.shows(name, "Running")
	}
	before, writes := b.running(), len(b.written())
	b.runtime.ResetCalls()
	b.restart()
	b.delete("c")
	b.until("c is gone", func() bool { return b.get("c") == nil })
	for _, id := range b.running() {
		if !slices.Contains(before, id) {
			t.Errorf("%s was started", id)
		}
	}
	if len(b.running()) != 2 || len(b.runtime.Calls(fake.OpStart, fake.OpCreate)) != 0 {
		t.Errorf("running %v", b.running())
	}
	if got := b.written()[writes:]; !slices.Equal(got, []string{"finalizer"}) {
		t.Errorf("writes %v", got)
	}
}

// TestKilledAnywhere ends the agent before each of its operations in turn; the next one finishes.
func TestKilledAnywhere(t *testing.T) {
	for n := range 14 {
		b := newBench(t)
		var calls atomic.Int64
		b.runtime.OnCall(func(ctx context.Context, op fake.Op, _ string) error {
			if op == fake.OpList || op == fake.OpEvents {
				return nil
			}
			if calls.Add(1) == int64(n) {
				return errors.Join(context.DeadlineExceeded, errdefs.ErrUnavailable) // the call is lost, as in a kill
			}
			return nil
		})
		b.create("a")
		b.until("it runs, or was hit", func() bool { return calls.Load() >= int64(n) || b.get("a").Status.Summary == "Running" })
		b.restart()
		b.shows("a", "Running")
		if len(b.containers()) != 1 || !strings.HasSuffix(b.containers()[0].ID, "-0") {
			t.Errorf("kill %d: %v", n, b.containers())
		}
		b.delete("a")
		b.restart()
		b.until("a is gone", func() bool { b.clock.Step(10 * time.Millisecond); return b.get("a") == nil })
		b.gone("a")
		b.kill()
	}
}

func TestAPIServerAway(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.setAway(true)
	b.exit(1)
	b.until("restarted all the same", func() bool { return len(b.containers()) == 2 && len(b.running()) == 1 })
	for range 60 {
		b.clock.Step(time.Second)
	}
	if b.get("a").Status.Restarts != 0 {
		t.Error("written while away")
	}
	b.setAway(false)
	b.until("the newest status arrives", func() bool {
		b.clock.Step(time.Second)
		return b.get("a").Status.Restarts == 1
	})
}

func TestVanishedAndForeign(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.change("a", func(p *miniv1.MiniPod) { p.Finalizers = nil })
	b.delete("a") // by force: nobody waited for the agent
	b.gone("a")

	b.create("b")
	b.shows("b", "Running")
	b.kill()
	b.change("b", func(p *miniv1.MiniPod) { p.Finalizers = nil })
	b.delete("b") // while no agent was there
	b.agent()
	b.gone("b")
}

func TestStrangersAreChecked(t *testing.T) {
	b := newBench(t)
	pod := b.create("a")
	b.shows("a", "Running")
	seen, err := b.pool.observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if owned, err := b.pool.owned(context.Background(), pod.UID, seen[pod.UID]); err != nil || !owned {
		t.Errorf("the list was old, the MiniPod is there: %v %v", owned, err)
	}
	if owned, err := b.pool.owned(context.Background(), "other", seen[pod.UID]); err != nil || owned {
		t.Errorf("another MiniPod of that name: %v %v", owned, err)
	}
}

// A MiniPod that the watch tells of while a look takes it for a stranger's is none.
func TestToldWhileTakenForAStranger(t *testing.T) {
	b := newBench(t)
	pod := b.create("a")
	b.shows("a", "Running")
	seen, err := b.pool.observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b.pool.mu.Lock()
	b.pool.adopted = seen // as before the watch told of it
	b.pool.mu.Unlock()
	b.pool.removeStranger(pod.UID)
	if w := b.pool.worker(pod.UID); w.latest() == nil {
		t.Error("the MiniPod was taken for gone")
	}
}

func TestRuntimeDown(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.runtime.SetDown(true)
	b.create("b")
	b.until("it fails", func() bool { return len(b.runtime.Calls(fake.OpImage)) > 1 })
	b.runtime.SetDown(false)
	b.until("it goes on", func() bool { b.clock.Step(podplan.UnavailableRetry); return b.get("b").Status.Summary == "Running" })
	if b.get("a").Status.Restarts != 0 {
		t.Error("restarted")
	}
}

func TestStartFails(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour {
		return fake.Behaviour{StartError: errors.New("no such program")}
	})
	b.create("a")
	pod := b.shows("a", miniv1.ReasonCrashLoopBackOff)
	if c := pod.Status.ContainerStatuses[0]; c.RestartCount != 1 || c.LastState.Terminated == nil || c.LastState.Terminated.Reason != miniv1.ReasonStartError ||
		!strings.Contains(c.LastState.Terminated.Message, "no such program") {
		t.Errorf("it says of a start that fails: %+v", c)
	}
	b.create("b", policy(corev1.RestartPolicyNever))
	b.until("b failed", func() bool { return b.get("b").Status.Phase == miniv1.PodFailed })
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{} })
	b.until("a runs", func() bool { b.clock.Step(time.Second); return b.get("a").Status.Summary == "Running" })
	box, _ := b.sandboxes.Ensure(t.Context(), sandbox.Spec{PodUID: string(pod.UID)}) // which is there
	if words, err := filepath.Glob(filepath.Join(box.Files, "*.words")); err != nil || len(words) != 1 {
		t.Errorf("files for termination messages of a container that runs, and of starts that failed: %q, %v", words, err)
	}
}

// TestNoRoomIsNoFailureOfTheContainer: where others have all processes that there may be, a container waits, and is not counted as one that was started; not even
// one that is never started again is given up.
func TestNoRoomIsNoFailureOfTheContainer(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour {
		return fake.Behaviour{StartError: fmt.Errorf("%w: resource temporarily unavailable", runtime.ErrNoRoom)}
	})
	b.create("a", policy(corev1.RestartPolicyNever))
	pod := b.shows("a", miniv1.ReasonCreateContainerError)
	if message := pod.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(message, "no room for a process") {
		t.Errorf("it says %q", message)
	}
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{} })
	b.until("it runs", func() bool { b.clock.Step(time.Second); return b.get("a").Status.Summary == "Running" })
	if c := b.get("a").Status.ContainerStatuses[0]; c.RestartCount != 0 || c.LastState.Terminated != nil {
		t.Errorf("it was counted: %+v", c)
	}
}

func TestSharedFailures(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	b := newBench(t, func(b *bench) {
		b.network.Fail = func(op, _ string) error {
			if broken.Load() && (op == "Attach" || op == "Detach") {
				return errors.New("no address is free")
			}
			return nil
		}
	})
	b.create("a")
	b.until("it says why", func() bool {
		s := b.get("a").Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && strings.Contains(s[0].State.Waiting.Message, "no address is free")
	})
	b.delete("a")
	b.until("the network is not gone", func() bool { b.clock.Step(time.Second); return b.get("a") != nil })
	broken.Store(false)
	b.until("a is gone", func() bool { b.clock.Step(time.Second); return b.get("a") == nil })
	b.gone("a")
}

func TestReboot(t *testing.T) {
	b := newBench(t)
	pod := b.create("a")
	b.shows("a", "Running")
	b.kill()
	b.runtime.Reboot()
	if err := b.sandboxes.Remove(context.Background(), string(pod.UID)); err != nil {
		t.Fatal(err)
	}
	if err := b.network.Detach(context.Background(), string(pod.UID)); err != nil {
		t.Fatal(err)
	}
	b.agent()
	b.until("it runs again", func() bool { p := b.get("a"); return p.Status.Restarts == 1 && p.Status.Summary == "Running" })
	if got := b.get("a").Status.ContainerStatuses[0].LastState.Terminated.Reason; got != miniv1.ReasonContainerStatusUnknown {
		t.Errorf("last state %q", got)
	}
}

func TestOOM(t *testing.T) {
	b := newBench(t)
	b.create("a", policy(corev1.RestartPolicyNever))
	b.shows("a", "Running")
	if err := b.runtime.OOM(b.running()[0]); err != nil {
		t.Fatal(err)
	}
	b.shows("a", "OOMKilled")
}

func TestForeignFinalizer(t *testing.T) {
	b := newBench(t)
	b.create("a", func(p *miniv1.MiniPod) { p.Finalizers = []string{"other.dev/x", miniv1.AgentFinalizer} })
	b.shows("a", "Running")
	b.delete("a")
	b.until("ours is off", func() bool { return slices.Equal(b.get("a").Finalizers, []string{"other.dev/x"}) })
	b.change("a", func(p *miniv1.MiniPod) { p.Finalizers = nil })
	b.gone("a")
}

func TestStaleFinalizerPlace(t *testing.T) {
	b := newBench(t)
	pod := b.create("a", func(p *miniv1.MiniPod) { p.Finalizers = []string{"other.dev/x", miniv1.AgentFinalizer} })
	b.shows("a", "Running")
	b.kill()
	stale := pod.DeepCopy()
	stale.Finalizers = []string{miniv1.AgentFinalizer}
	w := newWorker(b.pool, pod.UID, newView())
	if err := w.removeFinalizer(context.Background(), stale); err != nil {
		t.Errorf("stale place: %v", err)
	}
	if latest := w.latest(); latest == nil || len(latest.Finalizers) != 2 {
		t.Errorf("latest %v", latest)
	}
}

func TestMany(t *testing.T) {
	b := newBench(t)
	b.runtime.OnCall(fake.Latency(fake.OpStart, time.Millisecond))
	names := make([]string, 100)
	for i := range names {
		names[i] = "p" + strings.Repeat("x", i)
		if len(names[i]) > 30 {
			names[i] = "q" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		}
		b.create(names[i])
	}
	for _, name := range names {
		b.shows(name, "Running")
	}
	b.runtime.ResetCalls()
	for _, name := range names {
		b.delete(name)
	}
	for _, name := range names {
		b.until(name+" is gone", func() bool { return b.get(name) == nil })
	}
	b.gone(names[99])
	if got := len(b.written()); got != 200 {
		t.Errorf("%d writes for 100 MiniPods, want 200", got)
	}
}

// TestLongestName: a MiniPod whose name is as long as the API server takes it lives, and leaves nothing behind, with its agent or
// without. Two that differ at the end are told apart.
func TestLongestName(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("n", 253)
	b.create(long)
	b.shows(long, "Running")
	b.restart()
	b.delete(long)
	b.gone(long)
	b.create(long, func(p *miniv1.MiniPod) { p.UID = testUID })
	b.shows(long, "Running")
	b.kill()
	b.change(long, func(p *miniv1.MiniPod) { p.Finalizers = nil })
	b.delete(long)
	b.agent()
	b.gone(long)
	if one, other := b.layout.podLogDir("ns", long, testUID), b.layout.podLogDir("ns", long[:252]+"m", testUID); one == other {
		t.Errorf("both have their logs in %s", one)
	}
}

// TestServerDoesNotAnswer: while nobody tells what became of a container, the agent waits and says so; then it goes on.
func TestServerDoesNotAnswer(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	id := b.containers()[0].ID
	b.runtime.SetSilent(id, true)
	b.restart() // an agent that comes now sees no more
	b.shows("a", miniv1.ReasonContainerStatusUnknown)
	b.runtime.ResetCalls()
	b.pass(5 * time.Minute)
	b.runtime.SetSilent(id, false)
	b.until("it is heard of again", func() bool { b.clock.Step(podplan.UnavailableRetry); return b.get("a").Status.Summary == "Running" })
	if p := b.get("a"); p.Status.Restarts != 0 || len(b.containers()) != 1 || b.containers()[0].ID != id {
		t.Errorf("status %+v, containers %+v", p.Status, b.containers())
	}
}
