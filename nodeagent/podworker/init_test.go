package podworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// initialized gives a MiniPod an init container, a sidecar, and another init container before its main one.
func initialized(p *miniv1.MiniPod) {
	p.Spec.InitContainers = []miniv1.Container{{Name: "first", Image: "echo:test"},
		{Name: "side", Image: "echo:test", RestartPolicy: corev1.ContainerRestartPolicyAlways}, {Name: "second", Image: "echo:test"}}
}

func nameOf(spec runtime.ContainerSpec) string { return spec.Labels[runtime.LabelContainer] }

// initsEnd has init containers end well at once, and all others run.
func (b *bench) initsEnd() {
	b.runtime.SetProgram(func(spec runtime.ContainerSpec) fake.Behaviour {
		return fake.Behaviour{Exits: nameOf(spec) == "first" || nameOf(spec) == "second"}
	})
}

// called lists the containers that an operation was done to, by name and attempt.
func (b *bench) called(op fake.Op) (out []string) {
	for _, call := range b.runtime.Calls(op) {
		out = append(out, call.Subject[uidLength+1:])
	}
	return out
}

func TestInitContainers(t *testing.T) {
	b := newBench(t)
	b.initsEnd()
	b.create("a", initialized)
	pod := b.shows("a", "Running")
	if diff := cmp.Diff([]string{"first-0", "side-0", "second-0", "main-0"}, b.called(fake.OpStart)); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
	if pod.Status.ReadyContainers != "2/2" || len(pod.Status.InitContainerStatuses) != 3 {
		t.Errorf("status: %+v", pod.Status)
	}
	if writes := b.written(); !slices.Equal(writes, []string{"status"}) {
		t.Errorf("a start without trouble wrote %v", writes)
	}
	b.delete("a")
	b.gone("a")
	if diff := cmp.Diff([]string{"main-0", "side-0"}, b.called(fake.OpKill)); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
}

// A long init container is told of while it runs, and one that fails for good is the end of the MiniPod and of its sidecars.
func TestInitContainerFails(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(spec runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{Exits: nameOf(spec) == "first"} })
	b.create("a", initialized, policy(corev1.RestartPolicyNever))
	b.until("the second runs", func() bool { return len(b.running()) == 2 })
	b.pass(3 * time.Second)
	b.shows("a", "Init:2/3")
	for _, id := range b.running() {
		if strings.Contains(id, "second") {
			if err := b.runtime.Exit(id, 5); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.until("it failed", func() bool { b.clock.Step(time.Second); return b.get("a").Status.Phase == miniv1.PodFailed })
	pod := b.get("a")
	if pod.Status.Summary != "Init:Error" || pod.Status.InitContainerStatuses[2].State.Terminated.ExitCode != 5 || len(b.running()) != 0 {
		t.Errorf("running %v, status %+v", b.running(), pod.Status)
	}
	if slices.Contains(b.called(fake.OpCreate), "main-0") {
		t.Error("the main container was made")
	}
}

// In another sandbox, as after a reboot, all of them run again. A new pause in the same one is no reason to.
func TestInitContainersRunInEachSandbox(t *testing.T) {
	b := newBench(t)
	b.initsEnd()
	pod := b.create("a", initialized)
	b.shows("a", "Running")
	b.kill()
	b.sandboxes.KillPause(string(pod.UID))
	b.agent()
	b.until("there is a pause again", func() bool {
		boxes, _ := b.sandboxes.List(context.Background())
		return len(boxes) == 1 && boxes[0].PausePID != 0
	})
	b.restart() // the agent has looked at all by now
	if starts := b.called(fake.OpStart); len(starts) != 4 {
		t.Fatalf("starts after the death of a pause: %v", starts)
	}
	b.kill()
	b.runtime.Reboot()
	b.runtime.ResetCalls()
	if err := errors.Join(b.sandboxes.Remove(context.Background(), string(pod.UID)), b.network.Detach(context.Background(), string(pod.UID))); err != nil {
		t.Fatal(err)
	}
	b.agent()
	b.until("it runs again", func() bool { p := b.get("a"); return p.Status.Restarts == 2 && p.Status.Summary == "Running" })
	if diff := cmp.Diff([]string{"first-1", "side-1", "second-1", "main-1"}, b.called(fake.OpStart)); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}

// What they cost is paid by who has them: no label, no record and no name of a sandbox for others.
func TestNothingForOthers(t *testing.T) {
	b := newBench(t)
	b.create("a")
	pod := b.shows("a", "Running")
	if _, there := b.containers()[0].Labels[labelSandbox]; there {
		t.Error("a label")
	}
	if pod.Status.InitContainerStatuses != nil {
		t.Errorf("status: %+v", pod.Status)
	}
	path := b.pool.ends.path(pod.UID)
	var record atomic.Value
	b.runtime.OnCall(func(_ context.Context, op fake.Op, _ string) error {
		if op == fake.OpKill {
			content, _ := os.ReadFile(path)
			record.Store(string(content))
		}
		return nil
	})
	b.delete("a")
	b.gone("a")
	if written, _ := record.Load().(string); !strings.HasPrefix(written, lineTerm) || strings.Contains(written, lineEnd+" ") {
		t.Errorf("written down before the signal: %q", written)
	}
}

// The grace period is one for the whole MiniPod, from when its end began, whichever agent counts it.
func TestEndOfAllSurvivesTheAgent(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(spec runtime.ContainerSpec) fake.Behaviour {
		return fake.Behaviour{Exits: nameOf(spec) == "first" || nameOf(spec) == "second", IgnoresTerm: nameOf(spec) == "side"}
	})
	b.create("a", initialized, func(p *miniv1.MiniPod) { grace := int64(30); p.Spec.TerminationGracePeriodSeconds = &grace })
	uid := b.shows("a", "Running").UID
	b.delete("a")
	b.until("the sidecar was asked to end", func() bool {
		content, _ := os.ReadFile(b.pool.ends.path(uid))
		return len(b.runtime.Calls(fake.OpKill)) == 2 && strings.Count(string(content), lineSent) == 2
	})
	b.until("the agent waits", b.clock.HasWaiters)
	b.pass(10 * time.Second)
	b.restart()
	b.endsAfter(20 * time.Second)
	if diff := cmp.Diff([]string{"main-0", "side-0", "side-0"}, b.called(fake.OpKill)); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
}

// TestKilledAnywhereWithInitContainers ends the agent before each of its operations in turn, while a MiniPod with all kinds of containers
// starts and while it ends. Each runs once, in its turn.
func TestKilledAnywhereWithInitContainers(t *testing.T) {
	for n := 1; n < 26; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBench(t)
			b.initsEnd()
			var calls atomic.Int64
			lost := func(ctx context.Context, op fake.Op, _ string) error {
				if op != fake.OpList && op != fake.OpEvents && calls.Add(1) == int64(n) {
					return errors.Join(context.DeadlineExceeded, errdefs.ErrUnavailable) // the call is lost, as in a kill
				}
				return nil
			}
			b.runtime.OnCall(lost)
			b.create("a", initialized)
			b.until("it runs, or was hit", func() bool { return calls.Load() >= int64(n) || b.get("a").Status.Summary == "Running" })
			b.restart()
			b.until("it runs", func() bool { b.clock.Step(100 * time.Millisecond); return b.get("a").Status.Summary == "Running" })
			inOrder(t, []string{"first-0", "side-0", "second-0", "main-0"}, b.called(fake.OpStart))
			b.delete("a")
			b.restart()
			b.until("a is gone", func() bool { b.clock.Step(10 * time.Millisecond); return b.get("a") == nil })
			b.gone("a")
			inOrder(t, []string{"main-0", "side-0"}, b.called(fake.OpKill))
		})
	}
}

// inOrder holds calls, of which some may have been made again, against an order.
func inOrder(t *testing.T, want, got []string) {
	t.Helper()
	if compact := slices.Compact(slices.Clone(got)); !slices.Equal(want, compact) {
		t.Errorf("calls %v, want %v", got, want)
	}
}
