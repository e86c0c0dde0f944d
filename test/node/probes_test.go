package node

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func probes(change func(*miniv1.Container)) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) { change(&p.Spec.Containers[0]) }
}

func shell(text string) *miniv1.Probe {
	return &miniv1.Probe{Exec: &miniv1.ExecAction{Command: []string{"/bin/busybox", "sh", "-c", text}}, PeriodSeconds: 1}
}

// isReady tells whether the API server says that the MiniPod can serve.
func (e *env) isReady(name string) bool {
	pod := e.get(name)
	return pod != nil && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].Ready
}

// web serves the directory /www, which a container makes after a moment.
const web = "mkdir /www; busybox httpd -p 8080 -h /www; sleep 0.3; echo yes >/www/healthz; while :; do sleep 0.1; done"

// TestProbes asks real containers in every way that busybox answers.
func TestProbes(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { testProbes(t, newEnv(t, flags...)) })
	}
}

func testProbes(t *testing.T, e *env) {
	t.Helper()
	http := &miniv1.Probe{HTTPGet: &miniv1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("web")}, PeriodSeconds: 1, FailureThreshold: 1}
	tcp := &miniv1.Probe{TCPSocket: &miniv1.TCPSocketAction{Port: intstr.FromInt32(8080)}, PeriodSeconds: 1}
	port := miniv1.ContainerPort{Name: "web", ContainerPort: 8080, Protocol: "TCP"}
	e.run(e.sh("http", web, probes(func(c *miniv1.Container) {
		c.Ports = []miniv1.ContainerPort{port}
		c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = tcp, http, shell("test -d /www")
	})))
	e.run(e.sh("exec", strings.Replace(web, "; while", "; sleep 2; touch /www/closed; sleep 3; rm /www/closed; while", 1), probes(func(c *miniv1.Container) {
		c.ReadinessProbe = shell("test -f /www/healthz && ! test -f /www/closed")
		c.ReadinessProbe.FailureThreshold = 1
	})))
	for _, name := range []string{"http", "exec"} {
		e.until(name+" is ready", func() bool { return e.isReady(name) })
	}
	e.until("it is not ready", func() bool { return !e.isReady("exec") })
	e.until("it is ready again", func() bool { return e.isReady("exec") })
	for _, name := range []string{"http", "exec"} {
		if pod := e.get(name); pod.Status.Restarts != 0 {
			t.Errorf("%s was restarted", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(e.stateDir(), "*", "*", "exec-*")); len(left) > 2 { // what is under way
		t.Errorf("commands left %v", left)
	}
	e.deleteAll()
	e.clean()
}

// TestLivenessRestarts: a container whose program hangs, and hears no SIGTERM, is started again after the grace period of its probe.
func TestLivenessRestarts(t *testing.T) {
	e := newEnv(t)
	second := int64(1)
	e.run(e.sh("hangs", "trap '' TERM; echo up; sleep 1; touch /tmp/hung; while :; do sleep 0.1; done", func(p *miniv1.MiniPod) {
		grace := int64(60)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].LivenessProbe = shell("mkdir -p /tmp; if test -f /tmp/hung; then exec sleep 1000; fi")
		p.Spec.Containers[0].LivenessProbe.FailureThreshold, p.Spec.Containers[0].LivenessProbe.TerminationGracePeriodSeconds = 1, &second
		p.Spec.Containers[0].Command[3] = "mkdir -p /tmp; " + p.Spec.Containers[0].Command[3]
	}))
	e.until("it is started again", func() bool { return e.get("hangs").Status.Restarts > 0 })
	status := e.get("hangs").Status.ContainerStatuses[0]
	if last := status.LastState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("it ended as %+v", status.LastState)
	}
	zero := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"terminationGracePeriodSeconds":0}}`))
	if err := e.api.Patch(t.Context(), e.get("hangs"), zero); err != nil {
		t.Fatal(err)
	}
	e.deleteAll()
	e.clean()
}

// TestAgentAndProbes: an agent that is killed, and one that stands still for a while, end no container and make none unready.
func TestAgentAndProbes(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("a", web, probes(func(c *miniv1.Container) {
		c.ReadinessProbe = &miniv1.Probe{HTTPGet: &miniv1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}, PeriodMilliseconds: 100, FailureThreshold: 1}
		c.LivenessProbe = shell("test -f /www/healthz || sleep 0.5")
		c.LivenessProbe.FailureThreshold, c.LivenessProbe.PeriodSeconds, c.LivenessProbe.PeriodMilliseconds = 1, 0, 100
		c.StartupProbe = shell("test -f /www/healthz")
	})))
	e.until("it is ready", func() bool { return e.isReady("a") })
	before := e.get("a")
	for range 5 {
		time.Sleep(150 * time.Millisecond) // somewhere in a probe
		e.kill()
		e.start()
		e.join()
	}
	_ = e.agent.Process.Signal(syscall.SIGSTOP)
	time.Sleep(5 * time.Second) // longer than any of the probes' timeouts
	_ = e.agent.Process.Signal(syscall.SIGCONT)
	runs := e.probesRun()
	e.until("it is asked again", func() bool { return e.probesRun() > runs+20 })
	if now := e.get("a"); now.ResourceVersion != before.ResourceVersion {
		t.Errorf("it was written:\n%+v\n%+v", before.Status, now.Status)
	}
	e.deleteAll()
	e.clean()
}

// probesRun is how many probes the agent has run.
func (e *env) probesRun() (n int) {
	out, _ := e.ns.Try("curl", "-sf", "http://127.0.0.1:10350/metrics")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "miniplane_agent_probes_total{") && strings.Contains(line, `result="success"`) {
			count, _ := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]))
			n += count
		}
	}
	return n
}
