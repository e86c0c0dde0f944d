package podsecurity_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/test/builders"
)

const (
	enforce        = "pod-security.kubernetes.io/enforce"
	enforceVersion = "pod-security.kubernetes.io/enforce-version"
)

// conforming meets the restricted level.
func conforming(p *miniv1.MiniPod) {
	p.Spec.SecurityContext = &miniv1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &miniv1.Capabilities{Drop: []miniv1.Capability{"ALL"}}}
}

func hostPort(p *miniv1.MiniPod) {
	p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
}

func appArmor(p *miniv1.MiniPod) {
	p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
}

func container(change func(*miniv1.SecurityContext)) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		if p.Spec.Containers[0].SecurityContext == nil {
			p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{}
		}
		change(p.Spec.Containers[0].SecurityContext)
	}
}

func pod(changes ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	b := builders.Pod("team", "web")
	for _, change := range changes {
		b.With(change)
	}
	return b.Obj()
}

func TestCheck(t *testing.T) {
	privileged := container(func(s *miniv1.SecurityContext) { s.Privileged = new(true) })
	root := container(func(s *miniv1.SecurityContext) { s.RunAsUser = new(int64(0)) })
	restricted := map[string]string{enforce: "restricted"}
	baseline := map[string]string{enforce: "baseline"}
	for _, test := range []struct {
		name   string
		labels map[string]string
		pod    *miniv1.MiniPod
		// want is what the refusal says, in parts; none: it is admitted.
		want []string
	}{
		{"no labels", nil, pod(privileged, hostPort), nil},
		{"other labels", map[string]string{"a": "b"}, pod(privileged), nil},
		{"privileged", map[string]string{enforce: "privileged"}, pod(privileged), nil},
		{"warn and audit hold nobody up", map[string]string{"pod-security.kubernetes.io/warn": "restricted",
			"pod-security.kubernetes.io/audit": "nonsense"}, pod(privileged), nil},
		{"baseline, plain", baseline, pod(), nil},
		{"baseline, privileged", baseline, pod(privileged), []string{`violates PodSecurity "baseline:latest"`,
			`privileged (container "main" must not set securityContext.privileged=true)`}},
		{"baseline, privileged init container", baseline, pod(func(p *miniv1.MiniPod) {
			p.Spec.InitContainers = []miniv1.Container{{Name: "first", SecurityContext: &miniv1.SecurityContext{Privileged: new(true)}}}
		}), []string{`privileged (container "first" must not set securityContext.privileged=true)`}},
		{"restricted, sidecar that says nothing", restricted, pod(conforming, func(p *miniv1.MiniPod) {
			p.Spec.InitContainers = []miniv1.Container{{Name: "side", RestartPolicy: corev1.ContainerRestartPolicyAlways}}
		}), []string{`container "side" must set securityContext.allowPrivilegeEscalation=false`}},
		{"baseline, host port", baseline, pod(hostPort), []string{`hostPort (container "main" uses hostPort 80)`}},
		{"baseline, added capability", baseline, pod(container(func(s *miniv1.SecurityContext) {
			s.Capabilities = &miniv1.Capabilities{Add: []miniv1.Capability{"NET_ADMIN"}}
		})), []string{`must not include "NET_ADMIN" in securityContext.capabilities.add`}},
		{"baseline, no seccomp", baseline, pod(container(func(s *miniv1.SecurityContext) {
			s.SeccompProfile = &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		})), []string{"seccompProfile"}},
		{"baseline, AppArmor's annotation", baseline, pod(appArmor), []string{"container.apparmor.security.beta.kubernetes.io/main"}},
		{"restricted, plain", restricted, pod(), []string{`violates PodSecurity "restricted:latest"`,
			`container "main" must set securityContext.allowPrivilegeEscalation=false`,
			`container "main" must set securityContext.capabilities.drop=["ALL"]`,
			`must set securityContext.runAsNonRoot=true`, `must set securityContext.seccompProfile.type to "RuntimeDefault"`}},
		{"restricted, conforming", restricted, pod(conforming), nil},
		{"restricted, root", restricted, pod(conforming, root), []string{`container "main" must not set runAsUser=0`}},
		{"an old version asks for less", map[string]string{enforce: "restricted", enforceVersion: "v1.7"},
			pod(func(p *miniv1.MiniPod) {
				p.Spec.SecurityContext = &miniv1.PodSecurityContext{RunAsNonRoot: new(true)}
			}), nil},
		{"a version that is not there yet is the latest", map[string]string{enforce: "restricted", enforceVersion: "v1.999"}, pod(conforming), nil},
		{"unknown level", map[string]string{enforce: "Baseline"}, pod(), []string{`"restricted:latest"`,
			`metadata.labels[pod-security.kubernetes.io/enforce]`, `must be one of privileged, baseline, restricted`}},
		{"empty level", map[string]string{enforce: ""}, pod(), []string{`"restricted:latest"`, "must be one of"}},
		{"unknown level, conforming", map[string]string{enforce: "Baseline"}, pod(conforming), nil},
		{"unknown version", map[string]string{enforce: "restricted", enforceVersion: "1.7"}, pod(), []string{`"restricted:latest"`,
			`must be "latest" or "v1.x"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refusal := podsecurity.PolicyOf(test.labels).Check(test.pod)
			if (refusal != nil) != (test.want != nil) {
				t.Fatalf("refusal %+v, want %q", refusal, test.want)
			}
			for _, part := range test.want {
				if !strings.Contains(refusal.Message, part) || refusal.Reason != miniv1.ReasonPodSecurityViolation {
					t.Errorf("%s: %s\nlacks %s", refusal.Reason, refusal.Message, part)
				}
			}
		})
	}
}

// What was never read refuses everything, whatever the MiniPod.
func TestFailsClosed(t *testing.T) {
	var namespaces podsecurity.Namespaces
	refused := func(want string) {
		t.Helper()
		got := ""
		if refusal := namespaces.Check(pod()); refusal != nil {
			got = refusal.Reason
		}
		if got != want {
			t.Errorf("refused for %q, want %q", got, want)
		}
	}
	refused(miniv1.ReasonPodSecurityUnknown)
	if refusal := (podsecurity.Policy{}).Check(pod()); refusal == nil {
		t.Error("a policy that nobody read admits")
	}
	if !namespaces.Set("team", nil) {
		t.Error("a new namespace is no change")
	}
	refused("")
	if namespaces.Set("team", map[string]string{"other": "label"}) {
		t.Error("a label that means nothing here is a change")
	}
	if !namespaces.Set("team", map[string]string{enforce: "restricted"}) {
		t.Error("a level is no change")
	}
	refused(miniv1.ReasonPodSecurityViolation)
	if namespaces.Learn("team", nil) {
		t.Error("what is known is overwritten by what may be older")
	}
	refused(miniv1.ReasonPodSecurityViolation)
	namespaces.Delete("team")
	refused(miniv1.ReasonPodSecurityUnknown)
	namespaces.Learn("team", nil)
	refused("")
}

// MiniPods of one digest are answered alike, and the digest of plain ones costs nothing to keep.
// hookAt has a hook ask somebody else.
func hookAt(kind miniv1.HookKind, host string) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		hook := &miniv1.LifecycleHandler{HTTPGet: &miniv1.HTTPGetAction{Host: host}}
		p.Spec.Containers[0].Lifecycle = &miniv1.Lifecycle{PostStart: hook}
		if kind == miniv1.HookPreStop {
			p.Spec.Containers[0].Lifecycle = &miniv1.Lifecycle{PreStop: hook}
		}
	}
}

func TestDigest(t *testing.T) {
	image := func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = "other", []string{"x"}
		p.Annotations = map[string]string{"any": "other"}
	}
	for _, plain := range []*miniv1.MiniPod{pod(), pod(image)} {
		if got := podsecurity.Digest(plain); got != "" {
			t.Errorf("digest %q of a MiniPod that says nothing of security", got)
		}
	}
	seen := map[string]int{}
	for i, p := range []*miniv1.MiniPod{
		pod(conforming), pod(hostPort), pod(appArmor), pod(conforming, hostPort),
		pod(conforming, container(func(s *miniv1.SecurityContext) { s.RunAsUser = new(int64(0)) })),
		pod(conforming, func(p *miniv1.MiniPod) { p.Spec.SecurityContext.RunAsNonRoot = nil }),
		pod(conforming, func(p *miniv1.MiniPod) { p.Spec.InitContainers = []miniv1.Container{{Name: "first"}} }),
		pod(hookAt(miniv1.HookPostStart, "a")), pod(hookAt(miniv1.HookPreStop, "a")), pod(hookAt(miniv1.HookPreStop, "b")),
	} {
		digest := podsecurity.Digest(p)
		if other, twice := seen[digest]; twice || digest == "" {
			t.Errorf("MiniPod %d has the digest %q of MiniPod %d", i, digest, other)
		}
		seen[digest] = i
	}
	if diff := cmp.Diff(podsecurity.Digest(pod(conforming)), podsecurity.Digest(pod(conforming, image))); diff != "" {
		t.Errorf("the image changes the digest: %s", diff)
	}
}
