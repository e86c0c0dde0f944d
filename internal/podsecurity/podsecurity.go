// Package podsecurity decides whether a MiniPod meets the Pod Security level of its namespace.
//
// The idea: MiniPods must not be a way around Pod Security. A MiniPod's fields are core/v1's, so it is written as the Pod
// that it would be, and that Pod is judged by Kubernetes' own checks, for the level and version that the labels of the
// namespace ask for. What a MiniPod cannot say, no check can miss.
//
// Who asks: the scheduler before it binds, and the agent before it creates, each from its own watch of the namespaces. In
// doubt the answer is no: a namespace that is not known refuses everything, and a label that cannot be read stands for the
// strictest level, as it does in Kubernetes.
//
// Of the modes only enforce means something here: warn and audit speak to whoever makes a request, and nobody is asking when
// a MiniPod is bound. There are no exemptions.
package podsecurity

import (
	"fmt"
	"sync"

	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Policy is what the labels of a namespace ask for. The zero value refuses everything; use PolicyOf.
type Policy struct {
	// Enforce is the level, and the version of Kubernetes whose rules for it count.
	Enforce api.LevelVersion
	// Problem says which label cannot be read, and what it must be; empty if all can.
	Problem string
}

// privileged is the policy of a namespace without labels.
var privileged = api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}

// PolicyOf reads the labels of a namespace.
func PolicyOf(labels map[string]string) Policy {
	enforce := map[string]string{}
	for _, key := range []string{api.EnforceLevelLabel, api.EnforceVersionLabel} {
		if value, ok := labels[key]; ok {
			enforce[key] = value
		}
	}
	read, errs := api.PolicyToEvaluate(enforce, api.Policy{Enforce: privileged, Audit: privileged, Warn: privileged})
	out := Policy{Enforce: read.Enforce}
	if err := errs.ToAggregate(); err != nil {
		out.Problem = err.Error()
	}
	return out
}

// AllowsAll tells whether no MiniPod can violate the policy.
func (p Policy) AllowsAll() bool { return p.Enforce.Level == api.LevelPrivileged }

// Refusal is why a MiniPod may not run.
type Refusal struct {
	// Reason is one of the API's: PodSecurityViolation or PodSecurityUnknown.
	Reason string
	// Message says what is wrong and what to change.
	Message string
}

// evaluator has Kubernetes' checks.
var evaluator = sync.OnceValues(func() (policy.Evaluator, error) {
	return policy.NewEvaluator(policy.DefaultChecks(), nil)
})

// Check tells why the MiniPod violates the policy; nil if it does not.
func (p Policy) Check(pod *miniv1.MiniPod) *Refusal {
	if p.AllowsAll() {
		return nil
	}
	if !p.Enforce.Valid() {
		return unknown("the Pod Security level of the namespace was not read; please report this")
	}
	checks, err := evaluator()
	if err != nil {
		return unknown("the checks of Pod Security cannot be set up, please report this: %v", err)
	}
	meta, spec, err := AsPod(pod)
	if err != nil {
		return unknown("the MiniPod cannot be written as a Pod, so that its Pod Security cannot be checked; please report this: %v", err)
	}
	result := policy.AggregateCheckResults(checks.EvaluatePod(p.Enforce, meta, spec))
	if result.Allowed {
		return nil
	}
	message := fmt.Sprintf("violates PodSecurity %q of its namespace: %s", p.Enforce.String(), result.ForbiddenDetail())
	if p.Problem != "" {
		message += "; a label of the namespace cannot be read, so that the strictest value holds until it is corrected: " + p.Problem
	}
	return &Refusal{Reason: miniv1.ReasonPodSecurityViolation, Message: message}
}

func unknown(format string, args ...any) *Refusal {
	return &Refusal{Reason: miniv1.ReasonPodSecurityUnknown, Message: fmt.Sprintf(format, args...)}
}
