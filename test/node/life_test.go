package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func TestLife(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("a", `echo "$GREETING from $(hostname) at $IP"; cat /etc/hosts; trap 'exit 0' TERM; while :; do sleep 0.1; done`, func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Env = []miniv1.EnvVar{{Name: "GREETING", Value: "hello"},
			{Name: "IP", ValueFrom: &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
		grace := int64(30)
		p.Spec.TerminationGracePeriodSeconds = &grace
	}))
	pod := e.shows("a", "Running")
	e.until("the log", func() bool {
		log := e.logOf(pod)
		return strings.Contains(log, "hello from a at "+pod.Status.PodIP) && strings.Contains(log, pod.Status.PodIP+"\ta")
	})
	e.ns.Run("busybox", "ping", "-c1", "-W2", pod.Status.PodIP)
	e.delete("a")
	e.gone("a")
	e.clean()
}

func TestFailures(t *testing.T) {
	e := newEnv(t)
	never := func(p *miniv1.MiniPod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
	e.run(e.sh("completed", "exit 0", never))
	e.run(e.sh("error", "exit 3", never))
	e.run(e.sh("crash", "exit 1"))
	e.run(e.sh("noimage", "", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "127.0.0.1:1/none:1" }))
	e.run(e.sh("noprogram", "", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Command = []string{"/none"} }))
	e.shows("completed", "Completed")
	e.shows("error", "Error")
	e.shows("crash", miniv1.ReasonCrashLoopBackOff)
	e.shows("noimage", miniv1.ReasonErrImagePull, miniv1.ReasonImagePullBackOff)
	pod := e.shows("noprogram", miniv1.ReasonCrashLoopBackOff)
	if last := pod.Status.ContainerStatuses[0].LastState.Terminated; last == nil || last.Reason != miniv1.ReasonStartError || !strings.Contains(last.Message, "/none") {
		t.Errorf("its last state does not name the program: %+v", last)
	}
	for _, name := range []string{"completed", "error", "crash", "noimage", "noprogram"} {
		e.delete(name)
	}
	for _, name := range []string{"completed", "error", "crash", "noimage", "noprogram"} {
		e.gone(name)
	}
	e.clean()
}
