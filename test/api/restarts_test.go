package api

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

// What a container can say of its own restarts.
func TestRestartRules(t *testing.T) {
	_, c := testenv.Start(t)
	ns := testenv.Namespace(t, c)
	const code42 = "[{action: Restart, exitCodes: {operator: In, values: [42]}}]"
	for name, tc := range map[string]struct{ spec, want string }{
		"a policy of its own":      {"{containers: [{name: a, image: i, restartPolicy: Never}, {name: b, image: i, restartPolicy: OnFailure}]}", ""},
		"a rule":                   {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: " + code42 + "}]}", ""},
		"rules of init containers": {"{initContainers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: " + code42 + "}], containers: [{name: b, image: i}]}", ""},
		"a rule without a policy":  {"{containers: [{name: a, image: i, restartPolicyRules: " + code42 + "}]}", "restartPolicyRules need a restartPolicy of the same container"},
		"another action": {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]}]}",
			`Unsupported value: "RestartAllContainers": supported values: "Restart"`},
		"a rule for nothing":   {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: [{action: Restart}]}]}", "exitCodes: Required value"},
		"no exit code at all":  {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: []}}]}]}", "should have at least 1 items"},
		"not an exit code":     {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [256]}}]}]}", "should be less than or equal to 255"},
		"twice the same":       {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1, 1]}}]}]}", "Duplicate value"},
		"unknown operator":     {"{containers: [{name: a, image: i, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: Is, values: [1]}}]}]}", "Unsupported value"},
		"in a template, never": {"template {containers: [{name: a, image: i, restartPolicy: Never}]}", "restartPolicy of a container in a template must be Always"},
		"in a template, init":  {"template {initContainers: [{name: a, image: i, restartPolicy: Never}], containers: [{name: b, image: i}]}", "a MiniPod that ends is replaced for ever; look at container a"},
		"in a template, as by default": {"template {initContainers: [{name: a, image: i, restartPolicy: OnFailure}, {name: s, image: i, restartPolicy: Always}], " +
			"containers: [{name: b, image: i, restartPolicy: Always}]}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := "{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: r, namespace: " + ns + "}, spec: " + tc.spec + "}"
			if spec, template := strings.CutPrefix(tc.spec, "template "); template {
				manifest = "{apiVersion: miniplane.dev/v1alpha1, kind: MiniReplicaSet, metadata: {name: r, namespace: " + ns +
					"}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: " + spec + "}}}"
			}
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
				t.Fatal(err)
			}
			judge(t, strict(c).Create(t.Context(), object, client.DryRunAll), tc.want)
		})
	}
}
