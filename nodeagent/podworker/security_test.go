package podworker

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/test/builders"
)

// conforming meets the restricted level.
func conforming(p *miniv1.MiniPod) {
	p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsUser: new(int64(1000)), RunAsNonRoot: new(true),
		SeccompProfile: &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &miniv1.Capabilities{Drop: []miniv1.Capability{"ALL"}}}
}

// refused tells what the MiniPod's condition says of its admission; nothing if it is not refused.
func refused(pod *miniv1.MiniPod) string {
	if c := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionAdmitted); c != nil {
		return string(c.Status) + " " + c.Reason
	}
	return ""
}

// TestRefused: a MiniPod that its namespace's level refuses gets nothing at all, says why, and starts once it may.
func TestRefused(t *testing.T) {
	b := newBench(t)
	b.enforce("restricted")
	b.create("a")
	pod := b.shows("a", miniv1.ReasonPodSecurityViolation)
	waiting := pod.Status.ContainerStatuses[0].State.Waiting
	if waiting == nil || !strings.Contains(waiting.Message, `container "main" must set securityContext.allowPrivilegeEscalation=false`) {
		t.Errorf("waiting %+v", waiting)
	}
	if got := refused(pod); got != "False PodSecurityViolation" {
		t.Errorf("admitted: %q", got)
	}
	if pod.Status.Phase != miniv1.PodPending || b.sandboxes.Len() != 0 || len(b.runtime.Calls(fake.OpImage, fake.OpPull, fake.OpCreate)) != 0 {
		t.Errorf("phase %s, %d sandboxes, calls %v", pod.Status.Phase, b.sandboxes.Len(), b.runtime.Calls())
	}
	b.create("b", conforming)
	b.shows("b", "Running")
	b.restart() // and the next agent refuses too
	b.delete("b")
	b.until("b is gone", func() bool { return b.get("b") == nil })
	if len(b.containers()) != 0 {
		t.Errorf("containers %v", b.containers())
	}
	b.enforce("baseline")
	if pod = b.shows("a", "Running"); refused(pod) != "" {
		t.Errorf("running, and %q", refused(pod))
	}
	b.delete("a")
	b.gone("a")
}

// TestRefusedAndDeleted: what was refused can be deleted.
func TestRefusedAndDeleted(t *testing.T) {
	b := newBench(t)
	b.enforce("restricted")
	b.create("a")
	b.shows("a", miniv1.ReasonPodSecurityViolation)
	b.delete("a")
	b.gone("a")
}

// TestUnknownNamespace: a namespace that the agent cannot see may nothing. That is said after a moment, in which the news of it may
// come.
func TestUnknownNamespace(t *testing.T) {
	b := newBench(t, func(b *bench) { b.namespaces.Delete("ns") })
	b.create("a", conforming)
	b.until("the status is held back", b.clock.HasWaiters)
	if len(b.written()) != 0 || len(b.runtime.Calls(fake.OpCreate)) != 0 {
		t.Errorf("written %v, calls %v", b.written(), b.runtime.Calls())
	}
	b.clock.Step(2 * time.Second)
	pod := b.shows("a", miniv1.ReasonPodSecurityUnknown)
	if message := pod.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(message, "may get, list and watch namespaces") {
		t.Error(message)
	}
	if b.sandboxes.Len() != 0 {
		t.Error("there is a sandbox")
	}
	b.enforce("restricted")
	b.shows("a", "Running")
}

// TestNoNamespaces: an agent that was given nothing to know namespaces by starts nothing.
func TestNoNamespaces(t *testing.T) {
	pool := New(t.Context(), Options{})
	pod := testPod().Obj()
	if pool.refusal(pod, new(podplan.NewObservation())) == nil {
		t.Error("admitted")
	}
}

// TestTightened: a label that comes later does not end what runs, nor its restarts, nor what a new agent finds.
func TestTightened(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	b.enforce("restricted")
	b.exit(1)
	b.until("it is started again", func() bool { return b.get("a").Status.Restarts == 1 && b.get("a").Status.Summary == "Running" })
	before := b.running()
	b.restart()
	b.create("b")
	b.shows("b", miniv1.ReasonPodSecurityViolation)
	if diff := cmp.Diff(before, b.running()); diff != "" || refused(b.get("a")) != "" {
		t.Errorf("a: %q, running (-before +after):\n%s", refused(b.get("a")), diff)
	}
}

// TestRefusedUpdate: a new image is judged as a new MiniPod is. Refused, it changes nothing but what the status says.
func TestRefusedUpdate(t *testing.T) {
	b := newBench(t)
	b.create("a")
	b.shows("a", "Running")
	before := b.running()
	b.enforce("restricted")
	b.change("a", func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "echo:2" })
	b.until("the update is refused", func() bool { return refused(b.get("a")) == "False PodSecurityViolation" })
	if pod := b.get("a"); pod.Status.Summary != "Running" || pod.Status.ContainerStatuses[0].Image != "echo:test" {
		t.Errorf("status %+v", pod.Status)
	}
	if diff := cmp.Diff(before, b.running()); diff != "" {
		t.Errorf("running (-before +after):\n%s", diff)
	}
	b.enforce("privileged")
	b.until("the update is made", func() bool {
		pod := b.get("a")
		return pod.Status.Summary == "Running" && pod.Status.ContainerStatuses[0].Image == "echo:2" && refused(pod) == ""
	})
}

// TestRootImage: that an image would run as root is known only here; the status says what to do.
func TestRootImage(t *testing.T) {
	b := newBench(t)
	b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsNonRoot: new(true)}
	})
	b.shows("a", miniv1.ReasonCreateContainerConfig)
	if len(b.containers()) != 0 {
		t.Errorf("containers %v", b.containers())
	}
	b.runtime.SetImageUser("echo:test", 1000)
	b.pass(time.Minute)
	b.shows("a", "Running")
}

func TestSecurityOf(t *testing.T) {
	number := func(n uint32) *uint32 { return &n }
	unconfined := &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
	byDefault := &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	for _, test := range []struct {
		name string
		pod  *miniv1.PodSecurityContext
		own  *miniv1.SecurityContext
		want runtime.Security
	}{
		{"nothing", nil, nil, runtime.Security{}},
		{"empty", &miniv1.PodSecurityContext{}, &miniv1.SecurityContext{}, runtime.Security{}},
		{"the MiniPod's", &miniv1.PodSecurityContext{RunAsUser: new(int64(5)), RunAsGroup: new(int64(6)), RunAsNonRoot: new(true),
			SupplementalGroups: []int64{7}, SupplementalGroupsPolicy: new(corev1.SupplementalGroupsPolicyStrict), SeccompProfile: unconfined}, nil,
			runtime.Security{User: number(5), Group: number(6), NonRoot: true, Groups: []uint32{7}, OnlyGroups: true, NoSeccomp: true}},
		{"the container's before it", &miniv1.PodSecurityContext{RunAsUser: new(int64(5)), RunAsGroup: new(int64(6)),
			RunAsNonRoot: new(true), SeccompProfile: unconfined, SupplementalGroupsPolicy: new(corev1.SupplementalGroupsPolicyMerge)},
			&miniv1.SecurityContext{RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), RunAsNonRoot: new(false), SeccompProfile: byDefault},
			runtime.Security{User: number(0), Group: number(0)}},
		{"the container's alone", nil, &miniv1.SecurityContext{AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &miniv1.Capabilities{Add: []miniv1.Capability{"CHOWN"}, Drop: []miniv1.Capability{"ALL"}}},
			runtime.Security{NoNewPrivileges: true, ReadOnlyRoot: true, AddCapabilities: []string{"CHOWN"}, DropCapabilities: []string{"ALL"}}},
		{"privileged", nil, &miniv1.SecurityContext{Privileged: new(true), AllowPrivilegeEscalation: new(true)},
			runtime.Security{Privileged: true}},
	} {
		pod := builders.Pod("ns", "a").With(func(p *miniv1.MiniPod) {
			p.Spec.SecurityContext, p.Spec.Containers[0].SecurityContext = test.pod, test.own
		}).Obj()
		if diff := cmp.Diff(test.want, securityOf(pod, &pod.Spec.Containers[0])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
