package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// script is a container of busybox that runs one.
func script(name, text string) miniv1.Container {
	return miniv1.Container{Name: name, Image: "busybox:test", Command: []string{"/bin/busybox", "sh", "-c", text}}
}

func sidecarOf(name, text string) miniv1.Container {
	c := script(name, text)
	c.RestartPolicy = corev1.ContainerRestartPolicyAlways
	return c
}

// Containers of one MiniPod tell each other of themselves by files in the memory that they share.
const (
	noted    = `echo "$NAME starts" >>/dev/shm/log; `
	untilEnd = `while :; do sleep 0.05; done`
	onTerm   = `trap 'echo "$NAME ends" >>/dev/shm/log; cat /dev/shm/log; exit 0' TERM; echo "$NAME hears"; `
)

func as(name, text string) string { return "NAME=" + name + "; " + noted + text }

// lasting goes on until it is asked to end.
func lasting(name string) string { return "NAME=" + name + "; " + onTerm + noted + untilEnd }

// withAllKinds is a MiniPod of two init containers around a sidecar, and a main one.
func (e *env) withAllKinds(name string, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	return e.sh(name, lasting("main"), append([]func(*miniv1.MiniPod){func(p *miniv1.MiniPod) {
		grace := int64(20)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.InitContainers = []miniv1.Container{script("first", as("first", "sleep 0.3; echo done")), sidecarOf("side", lasting("side")),
			script("second", as("second", "cat /dev/shm/log"))}
	}}, change...)...)
}

// logOfContainer is what an attempt of any container of a MiniPod wrote.
func (e *env) logOfContainer(pod *miniv1.MiniPod, container string, attempt int) string {
	text, _ := os.ReadFile(filepath.Join(e.rootDir(), "logs", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), container,
		fmt.Sprintf("%d.log", attempt)))
	return string(text)
}

func TestInitContainers(t *testing.T) {
	e := newEnv(t)
	e.run(e.withAllKinds("a"))
	pod := e.shows("a", "Running")
	if pod.Status.ReadyContainers != "2/2" || pod.Status.Restarts != 0 || len(pod.Status.InitContainerStatuses) != 3 {
		t.Errorf("status: %+v", pod.Status)
	}
	for i, want := range []string{"Completed", "", "Completed"} {
		state := pod.Status.InitContainerStatuses[i].State
		if want == "" && state.Running == nil || want != "" && (state.Terminated == nil || state.Terminated.Reason != want) {
			t.Errorf("init container %d: %+v", i, state)
		}
	}
	e.until("the first has a log", func() bool { return strings.Contains(e.logOfContainer(pod, "first", 0), "stdout F done") })
	// What was there when the second ran.
	e.until("the second has a log", func() bool { return strings.Contains(e.logOfContainer(pod, "second", 0), "side starts") })
	if log := e.logOfContainer(pod, "second", 0); strings.Contains(log, "main starts") {
		t.Errorf("the main container started before:\n%s", log)
	}
	logs := e.follow(pod)
	e.delete("a")
	e.gone("a")
	got := logs()
	if main, side := strings.Index(got, "main ends"), strings.Index(got, "side ends"); main < 0 || side < main {
		t.Errorf("the sidecar did not end after the main container:\n%s", got)
	}
	e.clean()
}

// follow waits until both that last hear signals, keeps the log of the sidecar, which goes with the MiniPod, and returns what it was.
func (e *env) follow(pod *miniv1.MiniPod) func() string {
	e.t.Helper()
	for _, name := range []string{"side", "main"} {
		e.until(name+" hears signals", func() bool { return strings.Contains(e.logOfContainer(pod, name, 0), name+" hears") })
	}
	path := filepath.Join(e.rootDir(), "logs", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), "side", "0.log")
	file, err := os.Open(path)
	if err != nil {
		e.t.Fatal(err)
	}
	return func() string {
		defer file.Close()
		var all strings.Builder
		if _, err := file.WriteTo(&all); err != nil {
			e.t.Error(err)
		}
		return all.String()
	}
}

func TestInitContainersThatFail(t *testing.T) {
	e := newEnv(t)
	failing := func(policy corev1.RestartPolicy) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) {
			p.Spec.RestartPolicy = policy
			p.Spec.InitContainers = []miniv1.Container{sidecarOf("side", "exec sleep 1000"), script("first", "exit 3")}
		}
	}
	e.run(e.sh("never", "exec sleep 1000", failing(corev1.RestartPolicyNever)))
	e.run(e.sh("always", "exec sleep 1000", failing(corev1.RestartPolicyAlways)))
	e.run(e.sh("batch", "exit 0", func(p *miniv1.MiniPod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []miniv1.Container{sidecarOf("side", "exec sleep 1000")}
	}))
	never := e.shows("never", "Init:Error")
	e.until("it has failed", func() bool { never = e.get("never"); return never.Status.Phase == miniv1.PodFailed })
	if code := never.Status.InitContainerStatuses[1].State.Terminated.ExitCode; code != 3 || never.Status.ContainerStatuses[0].State.Waiting == nil {
		t.Errorf("exit code %d, status %+v", code, never.Status)
	}
	if pod := e.shows("always", "Init:CrashLoopBackOff"); pod.Status.Phase != miniv1.PodPending || pod.Status.ReadyContainers != "1/2" {
		t.Errorf("status: %+v", pod.Status)
	}
	// A sidecar does not keep a MiniPod from its end.
	e.until("the batch succeeded", func() bool { return e.get("batch").Status.Phase == miniv1.PodSucceeded })
	e.deleteAll()
	e.clean()
}

// TestKillInit kills the agent somewhere in the start, and somewhere in the end, of MiniPods with all kinds of containers.
// Each container ran once, in its turn.
func TestKillInit(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { killedWithInit(t, newEnv(t, flags...)) })
	}
}

func killedWithInit(t *testing.T, e *env) {
	t.Helper()
	for _, after := range []time.Duration{20, 60, 120, 250, 400, 500, 600} {
		name := fmt.Sprintf("k-%d", after)
		e.run(e.withAllKinds(name))
		time.Sleep(after * time.Millisecond) // somewhere in the middle of it
		e.kill()
		e.start()
		pod := e.shows(name, "Running")
		if pod.Status.Restarts != 0 {
			t.Errorf("%s: restarts: %+v", name, pod.Status)
		}
		for _, c := range pod.Status.InitContainerStatuses {
			if c.RestartCount != 0 {
				t.Errorf("%s: %s ran again: %+v", name, c.Name, c)
			}
		}
		logs := e.follow(pod)
		e.delete(name)
		time.Sleep(after / 4 * time.Millisecond)
		e.kill()
		e.start()
		e.gone(name)
		got := logs()
		if main, side := strings.Index(got, "main ends"), strings.Index(got, "side ends"); main < 0 || side < main {
			t.Errorf("%s: the sidecar did not end after the main container:\n%s", name, got)
		}
	}
	e.join()
	e.clean()
}

// The death of a pause is no reason to run init containers again: the sandbox stays the same.
func TestInitContainersAfterThePause(t *testing.T) {
	e := newEnv(t)
	e.run(e.withAllKinds("a"))
	pod := e.shows("a", "Running")
	e.kill()
	box := filepath.Join(e.stateDir(), "sandboxes", string(pod.UID))
	if out, err := exec.CommandContext(context.Background(), "sh", "-c", `kill -9 $(sed 's/.*"PID":\([0-9]*\).*/\1/' "$0/pause.json")`, box).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before, _ := os.ReadFile(filepath.Join(box, "pause.json"))
	e.start()
	e.until("there is a pause again", func() bool {
		now, _ := os.ReadFile(filepath.Join(box, "pause.json"))
		return len(now) > 0 && string(now) != string(before)
	})
	e.run(e.withAllKinds("b"))
	e.shows("b", "Running")
	if again := e.get("a"); again.Status.Restarts != 0 || again.Status.InitContainerStatuses[0].RestartCount != 0 {
		t.Errorf("after the death of the pause: %+v", again.Status)
	}
	e.deleteAll()
	e.clean()
}
