package api

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

// ruled are the policies that judge what people write; the others judge who writes.
var ruled = []string{"pods.miniplane.dev", "volumes.miniplane.dev", "names.miniplane.dev", "quotas.miniplane.dev", "changes.miniplane.dev", "jobs.miniplane.dev", "templates.miniplane.dev"}

// Objects that today's rules refuse may be older than the rules: they are stored here before there are any, one for each rule.
// When the rules are there, each of them can lose its finalizers, be labelled, and go.
func TestWhatIsStoredCanBeDeleted(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	broken := brokenObjects(t, namespace)
	everyRuleIsBroken(t, broken)
	arm := withoutRules(t, c, broken)
	held := client.RawPatch(mergePatch, []byte(`{"metadata":{"finalizers":["miniplane.dev/agent","example.com/other"]}}`))
	for name, b := range broken {
		if err := c.Create(t.Context(), b.object); err != nil {
			t.Fatalf("%s cannot be stored without rules: %v", name, err)
		}
		if err := c.Patch(t.Context(), b.object, held); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	arm()
	for name, b := range broken {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) { goesAway(t, c, b) })
	}
}

// goesAway takes an object's life to its end, as people and controllers do.
func goesAway(t *testing.T, c client.Client, b broken) {
	t.Helper()
	again := b.object.DeepCopy()
	again.SetName(again.GetName() + "-x")
	again.SetResourceVersion("")
	again.SetFinalizers(nil)
	if err := c.Create(t.Context(), again, client.DryRunAll); err == nil || !strings.Contains(err.Error(), b.want) {
		t.Errorf("the rule does not hold: a new one got %v, want %q", err, b.want)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"label", func() error { return patchWith(t, c, b.object, `{"metadata":{"labels":{"seen":"yes"}}}`) }},
		{"delete", func() error { return c.Delete(t.Context(), b.object.DeepCopy()) }},
		{"take a finalizer off", func() error {
			return patchWith(t, c, b.object, `{"metadata":{"finalizers":["miniplane.dev/agent"]}}`)
		}},
		{"take the last finalizer off", func() error { return patchWith(t, c, b.object, `{"metadata":{"finalizers":null}}`) }},
	} {
		if err := step.do(); err != nil {
			t.Errorf("cannot %s: %v", step.what, err)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(b.object), b.object.DeepCopy()); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there (%v)", err)
	}
}

// A rule is about what changes: a stored object that breaks it can be scaled, and can be mended.
func TestWhatIsStoredCanBeChanged(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	var set, quota, pod unstructured.Unstructured
	for manifest, object := range map[string]*unstructured.Unstructured{
		`{apiVersion: miniplane.dev/v1alpha1, kind: MiniReplicaSet, metadata: {name: old}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}},
		  spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}, ports: [{name: p, containerPort: 1}, {name: p, containerPort: 2}]}]}}}}`: &set,
		`{apiVersion: miniplane.dev/v1alpha1, kind: MiniQuota, metadata: {name: old}, spec: {hard: {cpu: 1, disk: 1}}}`:                                                            &quota,
		`{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: old}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}}`: &pod,
	} {
		if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
			t.Fatal(err)
		}
		object.SetNamespace(namespace)
	}
	arm := withoutRules(t, c, brokenObjects(t, namespace))
	for _, object := range []*unstructured.Unstructured{&set, &quota, &pod} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	arm()
	const over, unknown, twins = "a request must not be more than the limit", "spec.hard does not know", "port names must be unique"
	container := `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"%s","resources":{"requests":{"cpu":%d},"limits":{"cpu":1}},"ports":[%s]}]}}}}`
	twinPorts, onePort := `{"name":"p","containerPort":1},{"name":"p","containerPort":2}`, `{"name":"p","containerPort":1}`
	for _, step := range []struct {
		what   string
		object client.Object
		patch  string
		want   string
	}{
		{"scale it", &set, `{"spec":{"replicas":0}}`, ""},
		{"give it another image", &set, fmt.Sprintf(container, "v2", 2, twinPorts), ""},
		{"make it worse", &set, fmt.Sprintf(container, "v2", 3, twinPorts), over},
		{"mend one of two", &set, fmt.Sprintf(container, "v2", 2, onePort), ""},
		{"break the other again", &set, fmt.Sprintf(container, "v2", 2, twinPorts), twins},
		{"mend the rest", &set, fmt.Sprintf(container, "v2", 1, onePort), ""},
		{"break it again", &set, fmt.Sprintf(container, "v2", 2, onePort), over},
		{"raise the quota", &quota, `{"spec":{"hard":{"cpu":"2"}}}`, ""},
		{"limit what is unknown too", &quota, `{"spec":{"hard":{"tape":"2"}}}`, unknown + " tape"},
		{"mend the quota", &quota, `{"spec":{"hard":{"disk":null}}}`, ""},
		{"break the quota", &quota, `{"spec":{"hard":{"disk":"1"}}}`, unknown + " disk"},
		{"give the MiniPod another image", &pod, `[{"op":"replace","path":"/spec/containers/0/image","value":"v2"}]`, ""},
	} {
		t.Run(step.what, func(t *testing.T) {
			kind := mergePatch
			if strings.HasPrefix(step.patch, "[") {
				kind = jsonPatch
			}
			judge(t, c.Patch(t.Context(), step.object.DeepCopyObject().(client.Object), client.RawPatch(kind, []byte(step.patch))), step.want)
		})
	}
}

// broken is an object that a rule refuses, with these words.
type broken struct {
	object *unstructured.Unstructured
	want   string
}

// brokenObjects are the manifests that are refused, but for those that cannot be stored by any means: a field that does not exist
// is left out, and a negative number of replicas is refused for the sake of the subresource scale.
func brokenObjects(t *testing.T, namespace string) map[string]broken {
	t.Helper()
	files, err := filepath.Glob("../e2e/testdata/invalid/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]broken{}
	for _, file := range files {
		object, want := load(t, file, namespace)
		if !strings.Contains(want, "unknown field") && object.GetName() != "negative-replicas" {
			out[filepath.Base(file)] = broken{object, want}
		}
	}
	return out
}

// everyRuleIsBroken checks that there is an object for each rule that could refuse one that is stored.
func everyRuleIsBroken(t *testing.T, objects map[string]broken) {
	t.Helper()
	for _, rule := range rules(t) {
		if !slices.ContainsFunc(slices.Collect(maps.Values(objects)), func(b broken) bool { return sameWords(rule, b.want) }) {
			t.Errorf("no manifest in test/e2e/testdata/invalid breaks the rule %q", rule)
		}
	}
}

// sameWords compares a rule's message with what is expected of it, which may be shorter, or go on with the values concerned.
func sameWords(message, want string) bool {
	const enough = 20
	n := min(len(message), len(want), enough)
	return message[:n] == want[:n] && (n == enough || n == len(message))
}

// rules are the messages of all rules but those about changes, which nothing stored can break.
func rules(t *testing.T) []string {
	t.Helper()
	var out []string
	var collect func(any)
	collect = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			rule, isRule := node["rule"].(string)
			if message, ok := node["message"].(string); ok && isRule && (!strings.Contains(rule, "oldSelf") || node["optionalOldSelf"] == true) {
				out = append(out, message)
			}
			for _, child := range node {
				collect(child)
			}
		case []any:
			for _, child := range node {
				collect(child)
			}
		}
	}
	for _, crd := range manifests(t, "config/crd/bases/*.yaml") {
		collect(crd.Object)
	}
	for _, policy := range manifests(t, "config/policy/resources.yaml") {
		validations, _, _ := unstructured.NestedSlice(policy.Object, "spec", "validations")
		for _, validation := range validations {
			out = append(out, validation.(map[string]any)["message"].(string))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func manifests(t *testing.T, pattern string) []*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testenv.Root(), pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	var out []*unstructured.Unstructured
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(data), "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			out = append(out, object)
		}
	}
	return out
}

// withoutRules has the API server take everything, until the function that it returns, or the end of the test, arms the rules
// again. Each of the objects breaks a rule: a server learns its rules one by one, and the rule about changes, which no object
// breaks by itself, before the last of them.
func withoutRules(t *testing.T, c client.Client, objects map[string]broken) (arm func()) {
	t.Helper()
	judged := func(refused bool) string {
		for name, b := range objects {
			o := b.object.DeepCopy()
			o.SetName(o.GetName() + "-x")
			if err := c.Create(context.Background(), o, client.DryRunAll); (err != nil) != refused {
				return fmt.Sprintf("%s: got %v, want a refusal: %t", name, err, refused)
			}
		}
		return ""
	}
	crds := manifests(t, "config/crd/bases/*.yaml")
	once := false
	arm = func() {
		if once {
			return
		}
		once = true
		installRules(t, c, crds)
		testenv.Eventually(t, func() string { return judged(true) })
	}
	t.Cleanup(arm)
	for _, name := range ruled {
		binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := c.Delete(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
	}
	for _, crd := range crds {
		replaceSchema(t, c, crd.GetName(), anything)
	}
	testenv.Eventually(t, func() string { return judged(false) })
	return arm
}

// installRules brings back what withoutRules took away.
func installRules(t *testing.T, c client.Client, crds []*unstructured.Unstructured) {
	t.Helper()
	for _, crd := range crds {
		replaceSchema(t, c, crd.GetName(), func(map[string]any) map[string]any { return schemaOf(crd) })
	}
	for _, object := range manifests(t, "config/policy/*.yaml") {
		if object.GetKind() == "ValidatingAdmissionPolicyBinding" && slices.Contains(ruled, object.GetName()) {
			if err := c.Create(context.Background(), object); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Error(err)
			}
		}
	}
}

// anything is the schema without what is said about metadata and spec. The status has fields that others select by.
func anything(now map[string]any) map[string]any {
	delete(now, "x-kubernetes-validations")
	now["properties"].(map[string]any)["spec"] = map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return now
}

func schemaOf(crd *unstructured.Unstructured) map[string]any {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	of, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
	return of
}

func replaceSchema(t *testing.T, c client.Client, name string, with func(map[string]any) map[string]any) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := c.Get(context.Background(), client.ObjectKey{Name: name}, crd); err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	version := versions[0].(map[string]any)
	version["schema"] = map[string]any{"openAPIV3Schema": with(schemaOf(crd))}
	if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(context.Background(), crd); err != nil {
		t.Fatal(err)
	}
}
