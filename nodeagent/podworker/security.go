package podworker

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/podstate"
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
	if own.Capabilities != nil {
		out.AddCapabilities, out.DropCapabilities = names(own.Capabilities.Add), names(own.Capabilities.Drop)
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

func names(capabilities []miniv1.Capability) []string {
	var out []string
	for _, c := range capabilities {
		out = append(out, string(c))
	}
	return out
}

// refusal tells why nothing may be made of the MiniPod as it is; nil when it may. As in Kubernetes, a MiniPod is judged when it
// comes and when an image changes. What was let in before runs on, and is started again, when its namespace becomes stricter.
func (p *Pool) refusal(pod *miniv1.MiniPod, o *Observation) *podsecurity.Refusal {
	if pod == nil || podstate.IsDeleting(pod) || podstate.IsFinished(pod) || !o.unjudged(pod) {
		return nil
	}
	return p.Namespaces.Check(pod)
}

// unjudged tells whether a MiniPod has none of its containers yet, or one of them has another image than it should.
func (o *Observation) unjudged(pod *miniv1.MiniPod) bool {
	if len(o.Containers) == 0 {
		return true
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if history := o.history(c.Name); len(history) > 0 && ofOtherSpec(c, history[0]) {
			return true
		}
	}
	return false
}

// refuses tells whether the container must not be made, or made anew, from its spec.
func (o *Observation) refuses(c *miniv1.Container) bool {
	if o.Refusal == nil {
		return false
	}
	history := o.history(c.Name)
	return len(history) == 0 || ofOtherSpec(c, history[0])
}

// undecided tells whether nobody knows yet if the MiniPod may run. The news about a namespace may be a little behind those about
// its MiniPods; that is worth no write.
func (o *Observation) undecided() bool {
	return o.Refusal != nil && o.Refusal.Reason == miniv1.ReasonPodSecurityUnknown
}

// setAdmission says that the MiniPod, or its new image, is refused; there is no such condition when it is not.
func setAdmission(pod *miniv1.MiniPod, status *miniv1.MiniPodStatus, refusal *podsecurity.Refusal, now time.Time) {
	if refusal == nil {
		conditions.Remove(&status.Conditions, miniv1.ConditionAdmitted)
		return
	}
	conditions.Set(&status.Conditions, metav1.Condition{Type: miniv1.ConditionAdmitted, Status: metav1.ConditionFalse,
		Reason: refusal.Reason, Message: refusal.Message, ObservedGeneration: pod.Generation, LastTransitionTime: *seconds(now)})
}

// ofOtherSpec tells whether a container was made from another spec.
func ofOtherSpec(c *miniv1.Container, made runtime.Container) bool {
	return made.Labels[runtime.LabelSpecHash] != specHash(c)
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
