package podworker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// answers are what commands of probes end with, by their first argument.
type answers struct {
	mu    sync.Mutex
	codes map[string]int
	asked map[string]int
}

func (a *answers) set(name string, code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.codes[name] = code
}

func (a *answers) count(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[name]
}

// probed is a bench whose containers' probes are answered.
func probed(t *testing.T) (*bench, *answers) {
	a := &answers{codes: map[string]int{}, asked: map[string]int{}}
	b := newBench(t)
	b.runtime.SetExec(func(_ context.Context, _ runtime.ContainerSpec, args []string) (int, string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked[args[0]]++
		return a.codes[args[0]], "because"
	})
	return b, a
}

func execProbe(args ...string) *miniv1.Probe {
	return &miniv1.Probe{Exec: &miniv1.ExecAction{Command: args}}
}

func withProbes(change func(*miniv1.Container)) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) { change(&p.Spec.Containers[0]) }
}

// ready waits until the API server has a MiniPod whose condition Ready is so.
func (b *bench) ready(name string, want bool) {
	b.t.Helper()
	b.until("the condition Ready", func() bool {
		pod := b.get(name)
		i := slices.IndexFunc(pod.Status.Conditions, func(c metav1.Condition) bool { return c.Type == miniv1.ConditionReady })
		return i >= 0 && (pod.Status.Conditions[i].Status == "True") == want && pod.Status.ContainerStatuses[0].Ready == want
	})
}

// steps lets time pass until something is so.
func (b *bench) steps(what string, by time.Duration, ok func() bool) {
	b.t.Helper()
	b.until(what, func() bool {
		if ok() {
			return true
		}
		if b.clock.HasWaiters() {
			b.clock.Step(by)
		}
		return false
	})
}

// A container that is ready at once costs one write, as one without probes.
func TestReadyAtOnce(t *testing.T) {
	b, _ := probed(t)
	b.create("a", withProbes(func(c *miniv1.Container) {
		c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = execProbe("startup"), execProbe("ready"), execProbe("live")
	}))
	b.ready("a", true)
	if writes := b.written(); !slices.Equal(writes, []string{"status"}) {
		t.Errorf("wrote %v", writes)
	}
	b.delete("a")
	b.gone("a")
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	for _, w := range b.pool.workers {
		if len(w.watches) > 0 {
			t.Errorf("%d watches are left", len(w.watches))
		}
	}
}

// A MiniPod without probes has nothing of them.
func TestNoProbes(t *testing.T) {
	b, _ := probed(t)
	b.create("a")
	b.shows("a", "Running")
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	for _, w := range b.pool.workers {
		if w.watches != nil || w.observed.Health != nil {
			t.Errorf("watches %v, health %v", w.watches, w.observed.Health)
		}
	}
}

func TestReadiness(t *testing.T) {
	b, a := probed(t)
	a.set("ready", 1)
	recorder := events.NewFakeRecorder(16)
	b.pool.Recorder = recorder
	b.create("a", withProbes(func(c *miniv1.Container) { c.ReadinessProbe = execProbe("ready") }))
	b.steps("it runs", time.Second, func() bool { return b.get("a").Status.Summary == "Running" })
	b.ready("a", false)
	if pod := b.get("a"); !*pod.Status.ContainerStatuses[0].Started || pod.Status.ReadyContainers != "0/1" {
		t.Errorf("%+v", pod.Status)
	}
	b.steps("people are told", time.Second, func() bool { return len(recorder.Events) > 0 })
	if got := <-recorder.Events; !strings.Contains(got, "Warning Unhealthy container main: readiness probe failed: command ended with 1: because") {
		t.Error(got)
	}
	a.set("ready", 0)
	b.steps("it is ready", time.Second, func() bool { return b.get("a").Status.ReadyContainers == "1/1" })
	b.ready("a", true)

	before := a.count("ready")
	b.restart() // says nothing else, and asks on
	b.steps("the new agent asks", time.Second, func() bool { return a.count("ready") > before })
	b.ready("a", true)
	b.kill()
	a.set("ready", 1)
	writes := len(b.written())
	b.agent()
	b.steps("it is not ready any more", time.Second, func() bool { return b.get("a").Status.ReadyContainers == "0/1" })
	if got := len(b.written()) - writes; got != 1 {
		t.Errorf("%d writes", got)
	}
	if pod := b.get("a"); pod.Status.Restarts != 0 {
		t.Error("it was restarted")
	}
}

// The container is ended with the probe's grace period and started again, whatever its exit code; also when the agent changes meanwhile.
func TestLiveness(t *testing.T) {
	b, a := probed(t)
	recorder := events.NewFakeRecorder(16)
	b.pool.Recorder = recorder
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{IgnoresTerm: true} })
	seconds := int64(3)
	b.create("a", policy(corev1.RestartPolicyOnFailure), withProbes(func(c *miniv1.Container) {
		c.LivenessProbe = execProbe("live")
		c.LivenessProbe.TerminationGracePeriodSeconds, c.LivenessProbe.PeriodSeconds = &seconds, 1
	}))
	b.ready("a", true)
	a.set("live", 1)
	b.steps("it is asked to end", time.Second, func() bool { return len(b.runtime.Calls(fake.OpKill)) == 1 })
	asked := b.clock.Now()
	var told []string
	for range 2 {
		told = append(told, <-recorder.Events)
	}
	if diff := cmp.Diff([]string{"Warning Unhealthy container main: liveness probe failed: command ended with 1: because",
		"Normal Killing container main failed its liveness probe and is ended"}, told); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
	b.restart()
	a.set("live", 0) // which does not save it
	b.steps("it is made to", time.Second, func() bool { return len(b.runtime.Calls(fake.OpKill)) == 2 })
	if took := b.clock.Since(asked); took < 3*time.Second || took > 4*time.Second {
		t.Errorf("its grace period was %s", took)
	}
	b.steps("it is started again", time.Second, func() bool { return b.get("a").Status.Restarts == 1 && len(b.running()) == 1 })
	b.ready("a", true)
}

// The startupProbe holds the others back, and ends a container that does not start.
func TestStartup(t *testing.T) {
	b, a := probed(t)
	a.set("startup", 1)
	b.create("a", withProbes(func(c *miniv1.Container) {
		c.StartupProbe, c.ReadinessProbe = execProbe("startup"), execProbe("ready")
		c.StartupProbe.FailureThreshold = 2
	}))
	b.steps("it is asked to end", time.Second, func() bool { return len(b.runtime.Calls(fake.OpKill)) == 1 })
	if a.count("ready") != 0 {
		t.Error("asked whether it is ready before it has started")
	}
	a.set("startup", 0)
	b.steps("the next one starts", time.Second, func() bool { return b.get("a").Status.Restarts == 1 && *b.get("a").Status.ContainerStatuses[0].Started })
	b.ready("a", true)
}

// A runtime that does not run commands ends nobody and makes nobody unready.
func TestProbesWithoutRuntime(t *testing.T) {
	b, a := probed(t)
	b.create("a", withProbes(func(c *miniv1.Container) {
		c.ReadinessProbe, c.LivenessProbe = execProbe("ready"), execProbe("live")
		c.LivenessProbe.FailureThreshold, c.ReadinessProbe.FailureThreshold = 1, 1
	}))
	b.ready("a", true)
	var tries int
	b.runtime.OnCall(func(_ context.Context, op fake.Op, _ string) error {
		if op != fake.OpExec {
			return nil
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		tries++
		return errors.New("cannot")
	})
	b.steps("it is tried", time.Second, func() bool { a.mu.Lock(); defer a.mu.Unlock(); return tries > 10 })
	b.ready("a", true)
	if len(b.runtime.Calls(fake.OpKill)) > 0 {
		t.Error("it was ended")
	}
}

func TestForProbes(t *testing.T) {
	c := &miniv1.Container{Env: []miniv1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2"}, {Name: "C", ValueFrom: &miniv1.EnvVarSource{}}},
		LivenessProbe: execProbe("is", "$(B)", "$(C)", "$$(A)"), ReadinessProbe: execProbe("plain")}
	got, err := forProbes(c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"is", "12", "$(C)", "$(A)"}, got.LivenessProbe.Exec.Command); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c.LivenessProbe.Exec.Command[1] != "$(B)" {
		t.Error("the spec was changed")
	}
	plain := &miniv1.Container{ReadinessProbe: execProbe("plain")}
	if same, err := forProbes(plain); same != plain || err != nil {
		t.Error("a copy without need")
	}
}
