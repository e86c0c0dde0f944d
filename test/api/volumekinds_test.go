package api

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/internal/podfields"
	"miniplane.dev/miniplane/test/testenv"
)

// inKinds are manifests of the kinds that have volumes, with one that is called data.
func inKinds(volume string) map[string]string {
	spec := "{volumes: [{name: data, " + volume + "}], containers: [{name: a, image: x}]}"
	template := "{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: " + spec + "}}"
	return map[string]string{"MiniPod": spec, "MiniReplicaSet": template, "MiniDeployment": template}
}

// Kinds of volumes that MiniPods do not have are refused by their names and with the reason, whatever a client asks to become of fields that are not known;
// so are misspelt ones, and no volume of nothing comes of any.
func TestVolumeKindsAreRefusedByName(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	tries := map[string][]string{
		"emtpyDir: {}": {`unknown field "emtpyDir" of volume data`},
		"emptyDir: {}, persistentVolumeClaim: {}":       {"persistentVolumeClaim of volume data is not supported, because volumes live and end"},
		"nfs: {server: s}, persistentVolumeClaim: {}":   {"nfs of volume data is not supported", "persistentVolumeClaim of volume data is not supported"},
		"persistentVolumeClaim: {claimName: c, a: [1]}": {"because volumes live and end with their MiniPod: use hostPath for a directory of the node, or emptyDir"},
	}
	refused := 0
	for _, of := range podfields.All() {
		for _, field := range of.Fields {
			if of.Name() == "Volume" && field.Verdict == podfields.Refused {
				refused++
				tries[field.Name+": "+field.Not] = []string{field.Name + " of volume data is not supported, because " + field.Why, field.Instead}
			}
		}
	}
	if refused < 20 {
		t.Errorf("the table has %d kinds that are refused", refused)
	}
	for volume, want := range tries {
		for kind, spec := range inKinds(volume) {
			for _, validation := range []client.FieldValidation{"Strict", "Warn", "Ignore"} {
				object := &unstructured.Unstructured{}
				manifest := fmt.Sprintf("{apiVersion: miniplane.dev/v1alpha1, kind: %s, metadata: {name: a, namespace: %s}, spec: %s}", kind, namespace, spec)
				if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
					t.Fatal(err)
				}
				err := client.WithFieldValidation(c, validation).Create(t.Context(), object, client.DryRunAll)
				for _, words := range append(want, "MiniPods have no such volume: ") {
					if err == nil || !strings.Contains(err.Error(), words) {
						t.Errorf("%s in a %s, %s: %v\nwant it to contain: %s", volume, kind, validation, err, words)
					}
				}
			}
		}
	}
}

// What is in a kind that is known is judged by the schema as before.
func TestFieldsInVolumesAreStrict(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for field, volume := range map[string]string{
		"emptyDir.sizelimit":             "emptyDir: {sizelimit: 1Mi}",
		"configMap.item":                 "configMap: {name: c, item: []}",
		"configMap.items[0].pth":         "configMap: {name: c, items: [{key: k, path: p, pth: p}]}",
		"image.ref":                      "image: {reference: x, ref: y}",
		"hostPath.kind":                  "hostPath: {path: /, kind: File}",
		"projected.sources[0].configmap": "projected: {sources: [{configmap: {}}]}",
	} {
		if err := tryManifest(t, c, namespace, "kind: MiniPod\nmetadata: {name: probe}\nspec: "+inKinds(volume)["MiniPod"]); err == nil ||
			!strings.Contains(err.Error(), `unknown field "spec.volumes[0].`+field+`"`) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
