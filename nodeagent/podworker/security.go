package podworker

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// securityOf is what a container runs as and may do: what it says itself, then what its MiniPod says.
func securityOf(pod *miniv1.MiniPod, c *miniv1.Container) runtime.Security {
	all, own := pod.Spec.SecurityContext, c.SecurityContext
	if all == nil {
		all = &miniv1.PodSecurityContext{}
	}
	if own == nil {
		own = &miniv1.SecurityContext{}
	}
	out := runtime.Security{
		User:            kernelID(first(own.RunAsUser, all.RunAsUser)),
		Group:           kernelID(first(own.RunAsGroup, all.RunAsGroup)),
		NonRoot:         isTrue(first(own.RunAsNonRoot, all.RunAsNonRoot)),
		OnlyGroups:      all.SupplementalGroupsPolicy != nil && *all.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict,
		NoNewPrivileges: own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		ReadOnlyRoot:    isTrue(own.ReadOnlyRootFilesystem),
		Privileged:      isTrue(own.Privileged),
	}
	for _, group := range all.SupplementalGroups {
		out.Groups = append(out.Groups, uint32(group))
	}
	if all.FSGroup != nil {
		out.Groups = append(out.Groups, uint32(*all.FSGroup))
	}
	if own.Capabilities != nil {
		out.AddCapabilities, out.DropCapabilities = capitals(own.Capabilities.Add), capitals(own.Capabilities.Drop)
	}
	if profile := first(own.SeccompProfile, all.SeccompProfile); profile != nil {
		out.NoSeccomp = profile.Type == corev1.SeccompProfileTypeUnconfined
	}
	return out
}

// first of two that is given; nil if neither is.
func first[T any](own, all *T) *T {
	if own != nil {
		return own
	}
	return all
}

func isTrue(b *bool) bool { return b != nil && *b }

// kernelID is an ID as the kernel has it; the API server lets none through that does not fit.
func kernelID(n *int64) *uint32 {
	if n == nil {
		return nil
	}
	out := uint32(*n)
	return &out
}

func capitals(capabilities []miniv1.Capability) []string {
	var out []string
	for _, c := range capabilities {
		out = append(out, strings.ToUpper(string(c)))
	}
	return out
}

// refusal tells why nothing may be made of the MiniPod as it is; nil when it may.
func (p *Pool) refusal(pod *miniv1.MiniPod, o *podplan.Observation) *podsecurity.Refusal {
	if !o.Unjudged(pod) {
		return nil
	}
	return p.Namespaces.Check(pod)
}

// NamespaceChanged makes the workers of a namespace look at their MiniPods again.
func (p *Pool) NamespaceChanged(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if pod := w.latest(); pod != nil && pod.Namespace == namespace {
			w.tell(func(*inbox) {})
		}
	}
}
