package api

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// withFileKey is a MiniPod's spec with one variable of a file.
func withFileKey(selector string) string {
	return `{volumes: [{name: data, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}, {name: settings, configMap: {name: c}}],
  initContainers: [{name: first, image: x}],
  containers: [{name: other, image: x}, {name: a, image: x, env: [{name: B, value: b}, {name: A, valueFrom: {fileKeyRef: {` + selector + `}}}]}]}`
}

// What fileKeyRef takes is what a native Pod takes, but for paths that are not relative.
func TestFileKeyRef(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	const emptyDir, relative = "volumeName of a fileKeyRef must be an emptyDir of spec.volumes", "path of a fileKeyRef must be relative and have no '..'"
	for selector, want := range map[string]string{
		"volumeName: data, path: app.env, key: URL":                           "",
		"volumeName: memory, path: dir/app.env, key: URL":                     "",
		"volumeName: data, path: ..app/..env.., key: URL":                     "",
		"volumeName: data, path: app.env, key: a b-c.d/e, optional: true":     "",
		"volumeName: settings, path: app.env, key: URL":                       emptyDir + ", into which a container writes the file: look at settings",
		"volumeName: none, path: app.env, key: URL":                           emptyDir,
		"volumeName: data, path: /app.env, key: URL":                          relative + ": look at /app.env",
		"volumeName: data, path: .., key: URL":                                relative,
		"volumeName: data, path: a/.., key: URL":                              relative,
		"volumeName: data, path: a/../b, key: URL":                            relative,
		`volumeName: data, path: "", key: URL`:                                "path",
		`volumeName: "", path: a, key: URL`:                                   "volumeName",
		`volumeName: data, path: a, key: ""`:                                  "key",
		"volumeName: data, path: a, key: A=B":                                 "key",
		"volumeName: data, path: a, key: ÄB":                                  "key",
		"volumeName: data, path: a":                                           "key",
		"volumeName: data, key: a":                                            "path",
		"path: a, key: a":                                                     "volumeName",
		"volumeName: data, path: a, key: " + strings.Repeat("k", 257):         "key",
		"volumeName: data, path: " + strings.Repeat("p", 4097) + ", key: URL": "path",
	} {
		spec := withFileKey(selector)
		for kind, manifest := range map[string]string{"MiniPod": spec, "MiniReplicaSet": "{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: " + spec + "}}"} {
			err := tryManifest(t, c, namespace, "kind: "+kind+"\nmetadata: {name: probe}\nspec: "+manifest)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s in a %s: %v, want %q", selector, kind, err, want)
			}
		}
	}
	_, pod := created(t, c, "{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: a}, spec: "+withFileKey("volumeName: data, path: p, key: k")+"}")
	if ref := pod.Spec.Containers[1].Env[1].ValueFrom.FileKeyRef; ref == nil || ref.VolumeName != "data" || ref.Path != "p" || ref.Key != "k" || ref.Optional != nil {
		t.Errorf("%+v", ref)
	}
	if level := pod.Spec.Level(); level != miniv1.SpecLevelEnvFiles {
		t.Errorf("level %d", level)
	}
	judge(t, c.Patch(t.Context(), pod.DeepCopy(), client.RawPatch(jsonPatch, []byte(`[{"op":"replace","path":"/spec/containers/1/image","value":"y"}]`)), client.DryRunAll), "")
	judge(t, c.Patch(t.Context(), pod.DeepCopy(), client.RawPatch(jsonPatch, []byte(`[{"op":"replace","path":"/spec/containers/1/env/1/valueFrom/fileKeyRef/key","value":"y"}]`)), client.DryRunAll),
		"env of container a cannot be changed")
}
