package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent"
	"miniplane.dev/miniplane/test/testenv"
)

// With its defaults the chart is config/default and, as a hook, config/uninstall, but for the namespace, which helm makes, and
// the marks of helm.
func TestDefaultsAreConfig(t *testing.T) {
	want := objects(t, must(t, "kubectl", "kustomize", "config/default"))
	hooks := objects(t, must(t, "kubectl", "kustomize", "config/uninstall"))
	maps.Copy(want, hooks)
	rendered, err := template(t, "")
	if err != nil {
		t.Fatal(err)
	}
	got := objects(t, rendered)
	if want["Namespace/"+namespace] == nil {
		t.Fatalf("config/default has no Namespace %s", namespace)
	}
	delete(want, "Namespace/"+namespace)
	kinds := 0
	for key, o := range got {
		metadata := o["metadata"].(object)
		labels, _ := metadata["labels"].(object)
		for _, label := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
			if labels[label] == nil {
				t.Errorf("%s lacks the label %s", key, label)
			}
			delete(labels, label)
		}
		if len(labels) == 0 {
			delete(metadata, "labels")
		}
		annotations, _ := metadata["annotations"].(object)
		if strings.HasPrefix(key, "CustomResourceDefinition/") {
			kinds++
			if annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("%s would be deleted with the release", key)
			}
			delete(annotations, "helm.sh/resource-policy")
		}
		if hooks[key] != nil {
			if annotations["helm.sh/hook"] != "pre-delete" {
				t.Errorf("%s is not run before uninstalling", key)
			}
			delete(annotations, "helm.sh/hook")
			delete(annotations, "helm.sh/hook-delete-policy")
		}
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
	if kinds < 6 {
		t.Errorf("%d kinds", kinds)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the chart is not config/default: run make generate (-config +chart):\n%s", diff)
	}
}

// Both parts of the chart that are written by hand know the same values.
func TestSchemaHasTheValues(t *testing.T) {
	read := func(name string) (parsed object) {
		content, err := os.ReadFile(filepath.Join(testenv.Root(), "charts/miniplane", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, &parsed); err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	var inSchema func(schema object) object
	inSchema = func(schema object) object {
		names := object{}
		if properties, ok := schema["properties"].(object); ok && schema["additionalProperties"] == false {
			for name, part := range properties {
				names[name] = inSchema(part.(object))
			}
		}
		return names
	}
	var inValues func(values, like object) object
	inValues = func(values, like object) object {
		names := object{}
		for name, value := range values {
			names[name] = object{}
			if part, ok := value.(object); ok && len(like[name].(object)) > 0 {
				names[name] = inValues(part, like[name].(object))
			}
		}
		return names
	}
	schema := inSchema(read("values.schema.json"))
	delete(schema, "global")
	if diff := cmp.Diff(schema, inValues(read("values.yaml"), schema)); diff != "" {
		t.Errorf("values.schema.json and values.yaml do not have the same names (-schema +values):\n%s", diff)
	}
}

// What the comments of values.yaml say of the agent's own defaults, and what the chart takes for granted, is so.
func TestProgramsDefaults(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(testenv.Root(), "charts/miniplane/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	own := nodeagent.DefaultOptions()
	maxPods, _ := json.Marshal(own.MaxPods)
	for _, want := range []string{own.PodCIDR.String() + " and " + own.ServiceCIDR.String(), "0: the agent's own, " + string(maxPods), own.ContainerdAddress} {
		if !strings.Contains(string(content), want) {
			t.Errorf("values.yaml does not say %q", want)
		}
	}
	if about := must(t, "helm", "show", "chart", "charts/miniplane"); !strings.Contains(about, "appVersion: "+nodeagent.Version+"\n") {
		t.Errorf("the chart is for another version than %s:\n%s", nodeagent.Version, about)
	}
	if miniv1.SystemNamespace != namespace {
		t.Errorf("the programs live in %s, the chart in %s", miniv1.SystemNamespace, namespace)
	}
}
