package podplan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// restartPolicy is when a container is started again: as it says itself, or else as the MiniPod does. An init container is until it has ended well,
// unless it is to be Never.
func (p part) restartPolicy(pod *miniv1.MiniPod) corev1.RestartPolicy {
	switch own := corev1.RestartPolicy(p.spec.RestartPolicy); {
	case own != "":
		return own
	case p.kind == miniv1.ContainerInit && pod.Spec.RestartPolicy != corev1.RestartPolicyNever:
		return corev1.RestartPolicyOnFailure
	}
	return pod.Spec.RestartPolicy
}

// restartable tells whether a container that ended is started again, by its rules or else by its policy. The exit code of an unhealthy one says nothing to the
// policy, and that of one of which nobody knows how it ended nothing to the rules.
func (p part) restartable(pod *miniv1.MiniPod, c Container, unhealthy bool) bool {
	if c.State == StateExited && !c.ServerFailed && slices.ContainsFunc(p.spec.RestartPolicyRules, func(rule miniv1.ContainerRestartRule) bool {
		listed := slices.Contains(rule.ExitCodes.Values, int32(c.ExitCode))
		return listed == (rule.ExitCodes.Operator == miniv1.ContainerRestartRuleIn)
	}) {
		return true
	}
	switch p.restartPolicy(pod) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return c.ExitCode != 0 || c.State == StateUnknown || c.ServerFailed || unhealthy
	}
	return true
}

// gaveUp tells whether a failed start is the end of the container: with policy Never there is no second try.
func gaveUp(policy corev1.RestartPolicy, f Failure) bool {
	return f.Reason == miniv1.ReasonRunContainerError && policy == corev1.RestartPolicyNever
}
