package node

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func hook(text string) *miniv1.LifecycleHandler {
	return &miniv1.LifecycleHandler{Exec: &miniv1.ExecAction{Command: []string{"/bin/busybox", "sh", "-c", text}}}
}

// hooks gives a container hooks and a stop signal, and its MiniPod a grace period in seconds.
func hooks(grace int64, postStart, preStop *miniv1.LifecycleHandler, stop corev1.Signal) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Lifecycle = &miniv1.Lifecycle{PostStart: postStart, PreStop: preStop, StopSignal: &stop}
	}
}

// says writes a line into the log of the container, whoever runs it.
func says(word string) string { return "echo " + word + " >/proc/1/fd/1" }

// tells says when it is asked to end, and how.
const tells = "trap 'echo term; exit 0' TERM; trap 'echo usr1; exit 0' USR1; echo up; while :; do sleep 0.1; done"

// keepLog keeps the log of a container, which goes with its MiniPod, and returns what it was.
func (e *env) keepLog(pod *miniv1.MiniPod) func() string {
	e.t.Helper()
	file, err := os.Open(filepath.Join(e.rootDir(), "logs", fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), "main", "0.log"))
	if err != nil {
		e.t.Fatal(err)
	}
	return func() string {
		defer file.Close()
		text, err := io.ReadAll(file)
		if err != nil {
			e.t.Error(err)
		}
		return string(text)
	}
}

// TestHooks lets a container's own log tell what happened to it, and when.
func TestHooks(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testHooks(t, newEnv(t, flags...)) })
	}
}

func testHooks(t *testing.T, e *env) {
	t.Helper()
	e.run(e.sh("a", tells, hooks(60, hook("sleep 1; "+says("posted")), hook(says("preparing")+"; sleep 1; "+says("prepared")), corev1.SIGUSR1)))
	e.until("it is ready", func() bool { return e.isReady("a") })
	if log := e.logOf(e.get("a")); !strings.Contains(log, "posted") {
		t.Errorf("it is ready before its postStart has ended: %s", log)
	}
	server := "busybox httpd -f -vv -p 8080 -h /tmp & "
	get := &miniv1.LifecycleHandler{HTTPGet: &miniv1.HTTPGetAction{Port: intstr.FromInt32(8080), Path: "/farewell"}}
	e.run(e.sh("http", server+tells, hooks(60, nil, get, corev1.SIGTERM)))
	e.run(e.sh("sleeps", tells, hooks(60, &miniv1.LifecycleHandler{Sleep: &miniv1.SleepAction{Seconds: 1}}, &miniv1.LifecycleHandler{Sleep: &miniv1.SleepAction{Seconds: 2}}, corev1.SIGTERM)))
	e.run(e.sh("hangs", tells, hooks(2, nil, hook("sleep 1000"), corev1.SIGTERM)))
	for _, name := range []string{"http", "sleeps", "hangs"} {
		e.until(name+" is ready", func() bool { return e.isReady(name) })
	}
	logs := map[string]func() string{}
	for _, name := range []string{"a", "http", "sleeps", "hangs"} {
		logs[name] = e.keepLog(e.get(name))
	}
	deleted := time.Now()
	for name := range logs {
		e.delete(name)
	}
	for _, name := range []string{"hangs", "sleeps"} {
		e.gone(name)
		if took := time.Since(deleted); took < 2*time.Second {
			t.Errorf("%s was gone after %s", name, took)
		}
	}
	for name, want := range map[string][]string{"a": {"up", "posted", "preparing", "prepared", "usr1"}, "http": {"up", "url:/farewell", "term"},
		"sleeps": {"up", "term"}, "hangs": {"up", "term"}} {
		e.gone(name)
		text := logs[name]()
		rest := text
		for _, word := range want {
			_, after, found := strings.Cut(rest, word)
			if !found {
				t.Errorf("%s: no %q where it should be in %s", name, word, text)
				break
			}
			rest = after
		}
	}
	e.clean()
}

// TestHookAndAgents kills agents in the middle of hooks: postStart goes on in its container, and is not run again; preStop is, in the time that is left.
func TestHookAndAgents(t *testing.T) {
	e := newEnv(t)
	pod := e.run(e.sh("a", tells, hooks(60, hook(says("posting")+"; sleep 3; "+says("posted")), hook(says("preparing")+"; sleep 2; "+says("prepared")), corev1.SIGUSR1)))
	log := func() string { return e.logOf(pod) }
	e.until("postStart runs", func() bool { return strings.Contains(log(), "posting") })
	e.kill()
	e.start()
	e.join()
	e.until("postStart has ended", func() bool { return strings.Contains(log(), "posted") })
	e.until("it is ready", func() bool { return e.isReady("a") })
	whole := e.keepLog(pod)
	e.delete("a")
	e.until("preStop runs", func() bool { return strings.Contains(log(), "preparing") })
	e.kill()
	e.start()
	e.gone("a")
	text := whole()
	if strings.Count(text, "posting") != 1 || strings.Count(text, "preparing") != 2 {
		t.Errorf("%s", text)
	}
	if _, after, _ := strings.Cut(text, "prepared"); !strings.Contains(after, "usr1") {
		t.Errorf("it was asked to end before its preStop was over: %s", text)
	}
	e.clean()
}

// TestPostStartFails: the container is ended and started again.
func TestPostStartFails(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("a", tells, hooks(60, hook("echo no; exit 3"), nil, corev1.SIGTERM)))
	pod := e.shows("a", miniv1.ReasonCrashLoopBackOff)
	if last := pod.Status.ContainerStatuses[0].LastState.Terminated; last == nil || last.ExitCode != 0 {
		t.Errorf("it ended as %+v", pod.Status.ContainerStatuses[0].LastState)
	}
	e.deleteAll()
	e.clean()
}
