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
	tries := map[string][]string{
		"emtpyDir: {}": {`unknown field "emtpyDir" of volume data`},
		"emptyDir: {}, persistentVolumeClaim: {}":       {"persistentVolumeClaim of volume data is not supported, because volumes live and end"},
		"nfs: {server: s}, persistentVolumeClaim: {}":   {"nfs of volume data is not supported", "persistentVolumeClaim of volume data is not supported"},
		"persistentVolumeClaim: {claimName: c, a: [1]}": {"because volumes live and end with their MiniPod: use hostPath for a directory of the node, or emptyDir"},
	}
	fields := refusedOf("Volume")
	if len(fields) < 20 {
		t.Errorf("the table has %d kinds that are refused", len(fields))
	}
	for _, field := range fields {
		tries[field.Name+": "+field.Not] = []string{field.Name + " of volume data is not supported, because " + field.Why, field.Instead}
	}
	areRefused(t, tries, "MiniPods have no such volume: ")
}

// So are sources of projected volumes.
func TestSourcesAreRefusedByName(t *testing.T) {
	const whole = "projected: {sources: [{secret: {name: s}}, {%s}]}"
	tries := map[string][]string{
		fmt.Sprintf(whole, "configmap: {name: c}"):                                      {`unknown field "configmap" in projected.sources of volume data`},
		fmt.Sprintf(whole, "secret: {name: s}, clusterTrustBundle: {name: b, path: p}"): {"clusterTrustBundle in projected.sources of volume data is not supported"},
		fmt.Sprintf(whole, "podCertificate: {}}, {clusterTrustBundle: {}, a: [1]"):      {"podCertificate in", "clusterTrustBundle in", `unknown field "a" in`},
	}
	fields := refusedOf("VolumeProjection")
	if len(fields) < 2 {
		t.Errorf("the table has %d sources that are refused", len(fields))
	}
	for _, field := range fields {
		tries[fmt.Sprintf(whole, field.Name+": "+field.Not)] = []string{field.Name + " in projected.sources of volume data is not supported, because " + field.Why, field.Instead}
	}
	areRefused(t, tries, "projected volumes have no such source: ")
}

// refusedOf are the fields of a type that MiniPods do not have.
func refusedOf(name string) (out []podfields.Field) {
	for _, of := range podfields.All() {
		for _, field := range of.Fields {
			if of.Name() == name && field.Verdict == podfields.Refused {
				out = append(out, field)
			}
		}
	}
	return out
}

// areRefused tries volumes in all kinds that have such, each of which has to be refused in all these words, whatever is asked to become of unknown fields.
func areRefused(t *testing.T, tries map[string][]string, always string) {
	t.Helper()
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for volume, want := range tries {
		for kind, spec := range inKinds(volume) {
			for _, validation := range []client.FieldValidation{"Strict", "Warn", "Ignore"} {
				object := &unstructured.Unstructured{}
				manifest := fmt.Sprintf("{apiVersion: miniplane.dev/v1alpha1, kind: %s, metadata: {name: a, namespace: %s}, spec: %s}", kind, namespace, spec)
				if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
					t.Fatal(err)
				}
				err := client.WithFieldValidation(c, validation).Create(t.Context(), object, client.DryRunAll)
				for _, words := range append(want, always) {
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
		"projected.source":               "projected: {source: []}",
		"projected.sources[0].secret.of": "projected: {sources: [{secret: {name: s, of: a}}]}",
	} {
		if err := tryManifest(t, c, namespace, "kind: MiniPod\nmetadata: {name: probe}\nspec: "+inKinds(volume)["MiniPod"]); err == nil ||
			!strings.Contains(err.Error(), `unknown field "spec.volumes[0].`+field+`"`) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
