package podplan

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	always, onFailure, never = corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever
)

func TestRestartPolicy(t *testing.T) {
	for _, c := range []struct {
		pod       corev1.RestartPolicy
		kind      miniv1.ContainerKind
		own, want corev1.ContainerRestartPolicy
	}{
		{"Always", initial, "", onFailure},
		{"Always", mainOne, "", always},
		{"OnFailure", initial, "", onFailure},
		{"OnFailure", mainOne, "", onFailure},
		{"Never", initial, "", never},
		{"Never", mainOne, "", never},
		{"Never", sidecar, always, always},
		{"Never", initial, onFailure, onFailure},
		{"Always", initial, never, never},
		{"Never", mainOne, always, always},
		{"Always", mainOne, never, never},
	} {
		x := part{kind: c.kind, spec: &miniv1.Container{RestartPolicy: c.own}}
		if got := x.restartPolicy(testPod().With(policy(c.pod)).Obj()); got != corev1.RestartPolicy(c.want) {
			t.Errorf("MiniPod %s: %s container with %q: %s, want %s", c.pod, c.kind, c.own, got, c.want)
		}
	}
}

// The first rule that fits has the container started again; where none does, its policy decides.
func TestRestartRules(t *testing.T) {
	rule := func(operator miniv1.ContainerRestartRuleOperator, values ...int32) miniv1.ContainerRestartRule {
		return miniv1.ContainerRestartRule{Action: miniv1.ContainerRestartRuleActionRestart,
			ExitCodes: miniv1.ContainerRestartRuleOnExitCodes{Operator: operator, Values: values}}
	}
	in, notIn := rule(miniv1.ContainerRestartRuleIn, 42, 0), rule(miniv1.ContainerRestartRuleNotIn, 1, 2)
	ended := func(code int) Container { return Container{State: StateExited, ExitCode: code} }
	for name, c := range map[string]struct {
		policy corev1.ContainerRestartPolicy
		rules  []miniv1.ContainerRestartRule
		end    Container
		want   bool
	}{
		"listed":                   {never, []miniv1.ContainerRestartRule{in}, ended(42), true},
		"ended well, and listed":   {never, []miniv1.ContainerRestartRule{in}, ended(0), true},
		"not listed":               {never, []miniv1.ContainerRestartRule{in}, ended(1), false},
		"not listed, on failure":   {onFailure, []miniv1.ContainerRestartRule{in}, ended(1), true},
		"not excepted":             {never, []miniv1.ContainerRestartRule{notIn}, ended(3), true},
		"excepted":                 {never, []miniv1.ContainerRestartRule{notIn}, ended(2), false},
		"by the second rule":       {never, []miniv1.ContainerRestartRule{in, notIn}, ended(7), true},
		"by none":                  {never, []miniv1.ContainerRestartRule{in, notIn}, ended(1), false},
		"nobody knows the code":    {never, []miniv1.ContainerRestartRule{in}, Container{State: StateUnknown}, false},
		"its server took it along": {never, []miniv1.ContainerRestartRule{in}, Container{State: StateExited, ServerFailed: true}, false},
	} {
		x := part{kind: mainOne, spec: &miniv1.Container{RestartPolicy: c.policy, RestartPolicyRules: c.rules}}
		if got := x.restartable(testPod().Obj(), c.end, false); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// The phase of a MiniPod whose containers have policies of their own.
func TestPhaseOfOwnPolicies(t *testing.T) {
	own := func(policies ...corev1.ContainerRestartPolicy) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) {
			for i := range policies {
				p.Spec.Containers[i].RestartPolicy = policies[i]
			}
		}
	}
	rule := func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].RestartPolicyRules = []miniv1.ContainerRestartRule{{Action: miniv1.ContainerRestartRuleActionRestart,
			ExitCodes: miniv1.ContainerRestartRuleOnExitCodes{Operator: miniv1.ContainerRestartRuleIn, Values: []int32{42}}}}
	}
	first := func(policy corev1.ContainerRestartPolicy) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) {
			p.Spec.InitContainers = []miniv1.Container{{Name: "first", Image: "echo:test", RestartPolicy: policy}}
		}
	}
	two := []string{"main", "b"}
	for name, c := range map[string]struct {
		pod  *miniv1.MiniPod
		seen Observation
		want miniv1.MiniPodPhase
	}{
		"all never, of a MiniPod that is Always": {testPod().With(own(never)).Obj(), seen(container("main", 0, 0, exited(1, 0, 1))), miniv1.PodFailed},
		"one goes on for ever":                   {testPod(two...).With(own(never, always)).Obj(), seen(container("main", 0, 0, exited(1, 0, 1)), container("b", 0, 0, exited(0, 0, 1))), miniv1.PodRunning},
		"one failed, one is tried again":         {testPod(two...).With(own(never, onFailure)).Obj(), seen(container("main", 0, 0, exited(1, 0, 1)), container("b", 0, 0, exited(1, 0, 1))), miniv1.PodRunning},
		"one failed, one ended well":             {testPod(two...).With(own(never, onFailure)).Obj(), seen(container("main", 0, 0, exited(1, 0, 1)), container("b", 0, 0, exited(0, 0, 1))), miniv1.PodFailed},
		"both ended well":                        {testPod(two...).With(own(never, onFailure)).Obj(), seen(container("main", 0, 0, exited(0, 0, 1)), container("b", 0, 0, exited(0, 0, 1))), miniv1.PodSucceeded},
		"a rule tries it again":                  {testPod().With(own(never)).With(rule).Obj(), seen(container("main", 0, 0, exited(42, 0, 1))), miniv1.PodRunning},
		"no rule does":                           {testPod().With(own(never)).With(rule).Obj(), seen(container("main", 0, 0, exited(41, 0, 1))), miniv1.PodFailed},
		"an init container has one try":          {testPod().With(first(never)).Obj(), seen(container("first", 0, 0, exited(1, 0, 1))), miniv1.PodFailed},
		"an init container is tried again":       {testPod().With(policy(corev1.RestartPolicyNever)).With(first(onFailure)).Obj(), seen(container("first", 0, 0, exited(1, 0, 1))), miniv1.PodPending},
	} {
		if got := Status(c.pod, &c.seen, testNode("fake"), at(2)).Phase; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
