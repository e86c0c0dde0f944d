package jobplan

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// meaning is what podFailurePolicy says of one failed MiniPod. The zero value means that it counts.
type meaning struct {
	ignored, failsIndex bool
	// failsJob is why the MiniJob has failed by it; empty when it has not.
	failsJob string
}

// meaningOf looks for the first rule that matches. Exit codes are those of containers that have ended, main containers first.
func meaningOf(policy *miniv1.PodFailurePolicy, pod *miniv1.MiniPod) meaning {
	if policy == nil {
		return meaning{}
	}
	for i := range policy.Rules {
		rule := &policy.Rules[i]
		why := onExitCodes(rule.OnExitCodes, pod)
		if why == "" {
			why = onConditions(rule.OnPodConditions, pod)
		}
		if why == "" {
			continue
		}
		switch rule.Action {
		case batchv1.PodFailurePolicyActionIgnore:
			return meaning{ignored: true}
		case batchv1.PodFailurePolicyActionFailIndex:
			return meaning{failsIndex: true}
		case batchv1.PodFailurePolicyActionFailJob:
			return meaning{failsJob: fmt.Sprintf("%s matching %s rule at index %d", why, rule.Action, i)}
		}
		return meaning{}
	}
	return meaning{}
}

// onExitCodes names the first container whose exit code matches, in native words; empty when none does.
func onExitCodes(codes *miniv1.PodFailurePolicyOnExitCodes, pod *miniv1.MiniPod) string {
	if codes == nil {
		return ""
	}
	for _, status := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		end := status.State.Terminated
		if end == nil || end.ExitCode == 0 || codes.ContainerName != nil && *codes.ContainerName != status.Name {
			continue
		}
		if slices.Contains(codes.Values, end.ExitCode) == (codes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
			return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d", status.Name, pod.Namespace, pod.Name, end.ExitCode)
		}
	}
	return ""
}

// onConditions names the first condition that matches; empty when none does.
func onConditions(patterns []miniv1.PodFailurePolicyOnPodCondition, pod *miniv1.MiniPod) string {
	for i := range pod.Status.Conditions {
		condition := &pod.Status.Conditions[i]
		if slices.ContainsFunc(patterns, func(p miniv1.PodFailurePolicyOnPodCondition) bool {
			return p.Type == condition.Type && string(p.Status) == string(condition.Status)
		}) {
			return fmt.Sprintf("Pod %s/%s has condition %s", pod.Namespace, pod.Name, condition.Type)
		}
	}
	return ""
}

// enough tells which rule of a successPolicy is met, in native words; empty when none is.
func enough(policy *miniv1.SuccessPolicy, done Indexes, completions int) string {
	if policy == nil || done.Count() == 0 {
		return ""
	}
	for i, rule := range policy.Rules {
		have := done.Count()
		need := completions
		if rule.SucceededIndexes != nil {
			wanted := ParseIndexes(*rule.SucceededIndexes, completions)
			if need = wanted.Count(); need == 0 {
				continue // nothing that could be read
			}
			have = done.Common(wanted)
		}
		if rule.SucceededCount != nil {
			need = min(need, int(*rule.SucceededCount))
		}
		if have >= need {
			return fmt.Sprintf("Matched rules at index %d", i)
		}
	}
	return ""
}
