package api

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/testenv"
)

// withHooks has every field of lifecycle.
const withHooks = `{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: hooks}, spec: {os: {name: linux}, terminationGracePeriodSeconds: 5,
  initContainers: [{name: side, image: i, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 5}}}}, {name: first, image: i}],
  containers: [{name: main, image: i, lifecycle: {stopSignal: SIGRTMIN+3, postStart: {exec: {command: ["true"]}},
    preStop: {httpGet: {path: /bye, port: web, scheme: HTTPS, host: example.com, httpHeaders: [{name: Host, value: a}]}}}},
    {name: other, image: i, lifecycle: {}}]}}`

// A MiniPod that exists keeps its hooks, and what a native Pod says of them is taken.
func TestHooks(t *testing.T) {
	_, c := testenv.Start(t)
	object, pod := created(t, c, withHooks)
	main := pod.Spec.Containers[0].Lifecycle
	if *main.StopSignal != "SIGRTMIN+3" || main.PreStop.HTTPGet.Port.StrVal != "web" || pod.Spec.OS.Name != corev1.Linux || pod.Spec.Level() != miniv1.SpecLevelHooks {
		t.Errorf("%+v", main)
	}
	for patch, want := range map[string]string{
		`[{"op":"replace","path":"/spec/containers/0/lifecycle/stopSignal","value":"SIGINT"}]`: "lifecycle of container main cannot be changed; only images can",
		`[{"op":"replace","path":"/spec/containers/0/image","value":"other:1"}]`:               "",
		`[{"op":"replace","path":"/spec/terminationGracePeriodSeconds","value":0}]`:            "", // shorter than what it sleeps: then it does not
	} {
		judge(t, c.Patch(t.Context(), object.DeepCopy(), client.RawPatch(jsonPatch, []byte(patch)), client.DryRunAll), want)
	}
}

// Every signal that a native container on Linux may ask for is taken, and the agent knows its number.
func TestStopSignals(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	signals := []corev1.Signal{"SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT",
		"SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP",
		"SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN", "SIGRTMAX"}
	for i := range 15 {
		signals = append(signals, corev1.Signal(fmt.Sprintf("SIGRTMIN+%d", i+1)))
	}
	for i := range 14 {
		signals = append(signals, corev1.Signal(fmt.Sprintf("SIGRTMAX-%d", i+1)))
	}
	for _, signal := range signals {
		pod := &miniv1.MiniPod{Spec: miniv1.MiniPodSpec{Containers: []miniv1.Container{{Name: "main", Image: "i", Lifecycle: &miniv1.Lifecycle{StopSignal: &signal}}}}}
		pod.Namespace, pod.Name = namespace, "stops"
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Error(err)
		}
		if _, err := runtime.ParseSignal(string(signal)); err != nil {
			t.Error(err)
		}
	}
}
