package podworker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/events"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// commands are those that hooks run, by their first argument: what they end with, and when.
type commands struct {
	mu    sync.Mutex
	codes map[string]int
	hang  map[string]chan struct{} // until it is closed
	ran   []string
	ended []string
	cut   []string // by whoever ran them
}

func (c *commands) exec(ctx context.Context, _ runtime.ContainerSpec, args []string) (int, string) {
	c.mu.Lock()
	c.ran = append(c.ran, args[0])
	hang := c.hang[args[0]]
	c.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cut = append(c.cut, args[0])
			return 137, ""
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = append(c.ended, args[0])
	return c.codes[args[0]], "because"
}

func (c *commands) count(name string) (ran, ended int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := func(in []string) int {
		return len(slices.DeleteFunc(slices.Clone(in), func(s string) bool { return s != name }))
	}
	return counted(c.ran), counted(c.ended)
}

// hangs makes a command hang until the answer is called.
func (c *commands) hangs(name string) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	hang := make(chan struct{})
	c.hang[name] = hang
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.hang, name)
		close(hang)
	}
}

func (c *commands) set(name string, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.codes[name] = code
}

func hooked(t *testing.T) (*bench, *commands, *events.FakeRecorder) {
	b, c, recorder := newBench(t), &commands{codes: map[string]int{}, hang: map[string]chan struct{}{}}, events.NewFakeRecorder(64)
	b.runtime.SetExec(c.exec)
	b.pool.Recorder = recorder
	return b, c, recorder
}

func execHook(args ...string) *miniv1.LifecycleHandler {
	return &miniv1.LifecycleHandler{Exec: &miniv1.ExecAction{Command: args}}
}

func sleepHook(seconds int64) *miniv1.LifecycleHandler {
	return &miniv1.LifecycleHandler{Sleep: &miniv1.SleepAction{Seconds: seconds}}
}

func withHooks(postStart, preStop *miniv1.LifecycleHandler) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		grace := int64(30)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Lifecycle = &miniv1.Lifecycle{PostStart: postStart, PreStop: preStop}
	}
}

// told waits for an Event that begins so.
func told(t *testing.T, recorder *events.FakeRecorder, begins string) {
	t.Helper()
	select {
	case got := <-recorder.Events:
		if !strings.HasPrefix(got, begins) {
			t.Errorf("Event %q, want %q", got, begins)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("no Event %q", begins)
	}
}

// A container runs and is ready when its postStart has ended, which costs no write.
func TestPostStart(t *testing.T) {
	b, c, _ := hooked(t)
	release := c.hangs("start")
	b.create("a", withHooks(execHook("start"), nil), withProbes(func(c *miniv1.Container) { c.ReadinessProbe = execProbe("ready") }))
	b.until("it is run", func() bool { ran, _ := c.count("start"); return ran == 1 })
	if ran, _ := c.count("ready"); ran > 0 || len(b.written()) > 0 {
		t.Errorf("probed %d times before it, written %v", ran, b.written())
	}
	release()
	b.ready("a", true)
	if writes := b.written(); !slices.Equal(writes, []string{"status"}) {
		t.Errorf("wrote %v", writes)
	}
	if ran, _ := c.count("start"); ran != 1 {
		t.Errorf("it ran %d times", ran)
	}
	b.restart()
	b.delete("a")
	b.gone("a")
	if ran, _ := c.count("start"); ran != 1 {
		t.Errorf("it ran %d times", ran)
	}
}

// While it takes, people see that the container is being made; and the MiniPod can be deleted.
func TestPostStartTakesLong(t *testing.T) {
	b, c, recorder := hooked(t)
	c.hangs("start")
	b.create("a", withHooks(execHook("start"), execHook("stop")))
	b.steps("it is told of", time.Second, func() bool {
		pod := b.get("a")
		return len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].State.Waiting != nil && pod.Status.PodIP != ""
	})
	if pod := b.get("a"); pod.Status.Phase != miniv1.PodPending || pod.Status.ContainerStatuses[0].State.Waiting.Reason != miniv1.ReasonContainerCreating {
		t.Errorf("%+v", pod.Status)
	}
	b.delete("a")
	b.gone("a")
	if ran, ended := c.count("stop"); ran != 1 || ended != 1 {
		t.Errorf("preStop ran %d times and ended %d times", ran, ended)
	}
	b.until("it is given up", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return slices.Equal(c.cut, []string{"start"}) })
	if len(recorder.Events) > 0 {
		t.Error(<-recorder.Events)
	}
}

// A container whose postStart fails is ended in its grace period, and started again after the usual waits.
func TestPostStartFails(t *testing.T) {
	b, c, recorder := hooked(t)
	c.set("start", 3)
	b.create("a", withHooks(execHook("start"), execHook("stop")), policy(corev1.RestartPolicyOnFailure))
	told(t, recorder, "Warning FailedPostStartHook container main: postStart failed: command ended with 3: because")
	b.until("the next one is tried and ended", func() bool {
		ran, _ := c.count("start")
		_, stopped := c.count("stop")
		return ran == 2 && stopped == 2 && len(b.runtime.Calls(fake.OpKill)) == 2
	})
	b.steps("people see that it waits", time.Second, func() bool { return b.get("a").Status.Summary == miniv1.ReasonCrashLoopBackOff })
	b.restart()
	c.set("start", 0)
	b.steps("it works at last", time.Second, func() bool { return b.get("a").Status.ReadyContainers == "1/1" })
	if restarts := b.get("a").Status.Restarts; restarts < 2 {
		t.Errorf("%d restarts", restarts)
	}
}

// That a postStart failed is known to the next agent, while the container takes its time to end.
func TestFailureSurvivesTheAgent(t *testing.T) {
	b, c, _ := hooked(t)
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{IgnoresTerm: true} })
	c.set("start", 1)
	b.create("a", withHooks(execHook("start"), nil))
	b.until("it is asked to end", func() bool { return b.kills() == 1 })
	b.restart()
	c.set("start", 0)
	b.steps("people see why", time.Second, func() bool {
		pod := b.get("a")
		return len(pod.Status.ContainerStatuses) == 1 && pod.Status.Summary == miniv1.ReasonPostStartHookError
	})
	b.steps("it is made to end", time.Second, func() bool { return b.kills() == 2 })
	b.steps("the next one is ready", time.Second, func() bool { return b.get("a").Status.ReadyContainers == "1/1" })
}

// An agent that dies during postStart leaves the command alone, and the next one does not run it again.
func TestPostStartSurvivesTheAgent(t *testing.T) {
	b, c, _ := hooked(t)
	release := c.hangs("start")
	b.create("a", withHooks(execHook("start"), nil))
	b.until("it is run", func() bool { ran, _ := c.count("start"); return ran == 1 })
	b.restart()
	b.ready("a", true)
	release()
	b.until("it ends in its own time", func() bool { _, ended := c.count("start"); return ended == 1 })
	if ran, _ := c.count("start"); ran != 1 {
		t.Errorf("it ran %d times", ran)
	}
}

// begun waits until it is written down that a hook has begun.
func (b *bench) begun(name string, kind miniv1.HookKind) {
	b.t.Helper()
	path := b.pool.ends.path(b.get(name).UID)
	b.until(string(kind)+" begins", func() bool {
		content, _ := os.ReadFile(path)
		return strings.Contains(string(content), lineHook) && strings.Contains(string(content), string(kind))
	})
}

// kills is how many signals were sent.
func (b *bench) kills() int { return len(b.runtime.Calls(fake.OpKill)) }

// Of sleeping the next agent does the rest.
func TestSleepSurvivesTheAgent(t *testing.T) {
	b, _, _ := hooked(t)
	b.create("a", withHooks(sleepHook(20), sleepHook(20)))
	b.begun("a", miniv1.HookPostStart)
	b.pass(15 * time.Second)
	b.restart()
	b.pass(4 * time.Second)
	if pod := b.get("a"); pod.Status.ReadyContainers == "1/1" {
		t.Error("it is ready a second early")
	}
	b.pass(time.Second)
	b.ready("a", true)
	b.delete("a")
	b.begun("a", miniv1.HookPreStop)
	b.pass(15 * time.Second)
	b.restart()
	b.pass(4 * time.Second)
	if b.kills() > 0 {
		t.Error("it is asked to end a second early")
	}
	b.pass(time.Second)
	b.until("it is asked to end", func() bool { return b.kills() == 1 })
	b.gone("a")
}

// preStop, the stop signal, and SIGKILL share one grace period; whoever is the agent.
func TestPreStopTakesTheGracePeriod(t *testing.T) {
	b, c, _ := hooked(t)
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{IgnoresTerm: true} })
	b.create("a", withHooks(nil, execHook("stop")))
	b.ready("a", true)
	c.hangs("stop")
	b.delete("a")
	b.until("it is run", func() bool { ran, _ := c.count("stop"); return ran == 1 })
	b.pass(10 * time.Second)
	b.restart()
	b.until("it is run again", func() bool { ran, _ := c.count("stop"); return ran == 2 })
	b.pass(hookPeriod - 11*time.Second)
	if b.kills() > 0 {
		t.Error("it is asked to end a second early")
	}
	b.pass(time.Second)
	b.until("it is asked to end", func() bool { return b.kills() == 1 })
	b.pass(time.Second)
	if b.kills() > 1 {
		t.Error("it is made to end a second early")
	}
	b.pass(time.Second)
	b.until("it is made to", func() bool { return b.kills() == 2 })
	b.gone("a")
}

const hookPeriod = 30 * time.Second

func TestPreStopFails(t *testing.T) {
	b, c, recorder := hooked(t)
	c.set("stop", 1)
	b.create("a", withHooks(nil, execHook("stop")))
	b.ready("a", true)
	b.delete("a")
	b.gone("a")
	told(t, recorder, "Warning FailedPreStopHook container main: preStop failed: command ended with 1: because")
}

// A container that ends by itself, and one without a grace period, have no preStop.
func TestNoPreStop(t *testing.T) {
	b, c, _ := hooked(t)
	b.create("a", withHooks(nil, execHook("stop")), policy(corev1.RestartPolicyNever))
	b.ready("a", true)
	b.exit(0)
	b.shows("a", "Completed")
	b.create("b", withHooks(nil, execHook("stop")), func(p *miniv1.MiniPod) { *p.Spec.TerminationGracePeriodSeconds = 0 })
	b.ready("b", true)
	b.delete("a")
	b.delete("b")
	b.gone("a")
	b.gone("b")
	if ran, _ := c.count("stop"); ran > 0 {
		t.Errorf("it ran %d times", ran)
	}
}

// Another image comes after preStop of the old one.
func TestPreStopForAnotherImage(t *testing.T) {
	b, c, _ := hooked(t)
	b.runtime.AddImage("echo:2", 1)
	b.create("a", withHooks(nil, execHook("stop")))
	b.ready("a", true)
	release := c.hangs("stop")
	b.change("a", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "echo:2" })
	b.until("it is run", func() bool { ran, _ := c.count("stop"); return ran == 1 })
	if kills := b.runtime.Calls(fake.OpKill); len(kills) > 0 {
		t.Error("asked to end before its preStop was over")
	}
	release()
	b.until("it runs with the other one", func() bool {
		status := b.get("a").Status.ContainerStatuses[0]
		return status.Image == "echo:2" && status.Ready
	})
}

// A hook that asks by HTTP is content with any answer.
func TestHTTPHook(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.String()+" "+r.Header.Get("X-Who")+" "+r.UserAgent())
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	at, _ := url.Parse(server.URL)
	port, _ := strconv.Atoi(at.Port())
	get := func(path string) *miniv1.LifecycleHandler {
		return &miniv1.LifecycleHandler{HTTPGet: &miniv1.HTTPGetAction{Host: "127.0.0.1", Port: intstr.FromString("web"), Path: path,
			HTTPHeaders: []miniv1.HTTPHeader{{Name: "X-Who", Value: "me"}}}}
	}
	b, _, recorder := hooked(t)
	b.create("a", withHooks(get("/start?x=1"), get("/stop")), func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}
	})
	b.ready("a", true)
	b.delete("a")
	b.gone("a")
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"/start?x=1 me " + hookAgent, "/stop me " + hookAgent}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
	if len(recorder.Events) > 0 {
		t.Error(<-recorder.Events)
	}
	secret := httptest.NewUnstartedServer(nil)
	go func() {
		for {
			conn, err := secret.Listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("secret words\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	defer secret.Listener.Close()
	b.create("c", withHooks(get("/start"), nil), policy(corev1.RestartPolicyNever), func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{Name: "web", ContainerPort: int32(secret.Listener.Addr().(*net.TCPAddr).Port)}}
	})
	b.shows("c", "Error")
	if got := <-recorder.Events; strings.Contains(got, "secret") || !strings.Contains(got, "does not speak the protocol") {
		t.Error(got)
	}
	server.Close()
	b.create("b", withHooks(get("/start"), nil), policy(corev1.RestartPolicyNever), func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}
	})
	b.shows("b", "Error")
	told(t, recorder, `Warning FailedPostStartHook container main: postStart failed: Get "http://127.0.0.1`)
}

// Hooks that hang hold up no other's, of which there are more than places.
func TestHangingHooks(t *testing.T) {
	b, c, _ := hooked(t)
	c.hangs("hangs")
	places := cap(b.pool.hooks.places)
	for i := range places + 1 {
		b.create(fmt.Sprintf("hangs-%d", i), withHooks(execHook("hangs"), nil))
	}
	b.until("the places are taken", func() bool { ran, _ := c.count("hangs"); return ran >= places })
	b.create("a", withHooks(execHook("start"), execHook("stop")))
	b.steps("it runs", time.Second, func() bool { return b.get("a").Status.ReadyContainers == "1/1" })
	b.delete("a")
	b.until("it is gone", func() bool { return b.get("a") == nil })
}

// A container is asked to end by the signal of its spec, or of its image.
func TestStopSignals(t *testing.T) {
	b := newBench(t)
	b.runtime.AddImage("stops:1", 1)
	b.runtime.SetStopSignal("stops:1", 28)
	usr1 := corev1.SIGUSR1
	for name, c := range map[string]struct {
		image  string
		signal *corev1.Signal
		code   int32
	}{
		"plain": {"echo:test", nil, 143}, "image": {"stops:1", nil, 128 + 28}, "spec": {"stops:1", &usr1, 138},
	} {
		b.create(name, func(p *miniv1.MiniPod) {
			p.Spec.Containers[0].Image = c.image
			p.Spec.Containers[0].Lifecycle = &miniv1.Lifecycle{StopSignal: c.signal}
		})
		b.ready(name, true)
		b.change(name, func(p *miniv1.MiniPod) {
			p.Spec.Containers[0].Image = map[bool]string{true: "echo:test", false: "stops:1"}[c.image == "stops:1"]
		})
		b.until(name+" is another", func() bool {
			last := b.get(name).Status.ContainerStatuses[0].LastState.Terminated
			return last != nil && last.ExitCode == c.code
		})
	}
}
