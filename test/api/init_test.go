package api

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

const withInit = `{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: init}, spec: {
  initContainers: [{name: first, image: i, ports: [{name: p, containerPort: 80, hostPort: 80}]},
    {name: side, image: i, restartPolicy: Always, ports: [{name: p, containerPort: 80, hostPort: 80}]}],
  containers: [{name: main, image: i}]}}`

// Of init containers, as of others, images alone can be changed, and every rule about containers holds for them too. The ports of one that
// ends are nobody's.
func TestInitContainers(t *testing.T) {
	_, c := testenv.Start(t)
	object, pod := created(t, c, withInit)
	var kinds []string
	for kind, container := range pod.Spec.AllContainers() {
		kinds = append(kinds, container.Name+" "+string(kind))
	}
	if got := strings.Join(kinds, ", "); got != "first Init, side Sidecar, main Main" {
		t.Errorf("containers: %s", got)
	}
	tests := map[string]struct{ patch, want string }{
		"image":           {`[{"op":"replace","path":"/spec/initContainers/0/image","value":"v2"}]`, ""},
		"command":         {`[{"op":"add","path":"/spec/initContainers/0/command","value":["/x"]}]`, "command of container first cannot be changed; only images can"},
		"sidecar or not":  {`[{"op":"remove","path":"/spec/initContainers/1/restartPolicy"}]`, "restartPolicy of container side cannot be changed"},
		"added":           {`[{"op":"add","path":"/spec/initContainers/-","value":{"name":"b","image":"b"}}]`, "containers cannot be added, removed or reordered"},
		"all removed":     {`[{"op":"remove","path":"/spec/initContainers"}]`, "containers cannot be added, removed or reordered"},
		"other order":     {`[{"op":"move","from":"/spec/initContainers/0","path":"/spec/initContainers/1"}]`, "containers cannot be added, removed or reordered"},
		"moved to others": {`[{"op":"remove","path":"/spec/initContainers/1/restartPolicy"},{"op":"move","from":"/spec/initContainers/1","path":"/spec/containers/0"}]`, "containers cannot be added, removed or reordered"},
		"its own twin":    {`[{"op":"replace","path":"/spec/initContainers/0/name","value":"side"}]`, "Duplicate value"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			judge(t, c.Patch(t.Context(), object.DeepCopy(), client.RawPatch(jsonPatch, []byte(tc.patch)), client.DryRunAll), tc.want)
		})
	}
	for name, tc := range map[string]struct{ init, want string }{
		"a request over the limit":      {`{name: first, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}`, "look at resources of container first"},
		"a resource that nobody knows":  {`{name: first, image: i, resources: {limits: {tape: 1}}}`, "not for tape"},
		"a sidecar with another's port": {`{name: side, image: i, restartPolicy: Always, ports: [{containerPort: 81, hostPort: 81}]}`, "each hostPort can be used once"},
		"a name that is none":           {`{name: A, image: i}`, "spec.initContainers[0].name"},
		"its name is another's":         {`{name: main, image: i}`, "rename one of the two called main"},
		"with one try":                  {`{name: first, image: i, restartPolicy: Never}`, ""},
		"an unknown restart policy":     {`{name: first, image: i, restartPolicy: Sometimes}`, "Unsupported value"},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := `{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: wrong, namespace: ` + object.GetNamespace() + `}, spec: {
				initContainers: [` + tc.init + `], containers: [{name: main, image: i, ports: [{containerPort: 80, hostPort: 81}]}]}}`
			wrong := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(strings.ReplaceAll(manifest, "\t", " ")), wrong); err != nil {
				t.Fatal(err)
			}
			judge(t, strict(c).Create(t.Context(), wrong, client.DryRunAll), tc.want)
		})
	}
}
