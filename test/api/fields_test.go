package api

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/internal/podfields"
	"miniplane.dev/miniplane/test/testenv"
)

// notByHand are examples that the API server refuses in a native Pod too, as somebody has to write them, and why.
var notByHand = map[string]string{
	"PodSpec/ephemeralContainers":    "by the subresource only",
	"PodSpec/priority":               "the API server fills it in",
	"PodSpec/preemptionPolicy":       "the API server fills it in",
	"PodSpec/runtimeClassName":       "there has to be one",
	"PodSpec/overhead":               "the API server fills it in",
	"Toleration/operator":            "Lt and Gt are behind a feature gate",
	"ObjectFieldSelector/apiVersion": "there is no other than v1",
}

// What the table of fields says is what the API server does, with each example in it: what works is taken, what does not is refused, by its
// name. All of them are examples of what people can have in a native Pod.
func TestFieldsAreAsTheTableSays(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	try := func(t *testing.T, apiVersion, kind, frame, field, value string) error {
		t.Helper()
		object := exampleOf(t, frame, field, value)
		object.SetAPIVersion(apiVersion)
		object.SetKind(kind)
		object.SetNamespace(namespace)
		object.SetName("example")
		return strict(c).Create(t.Context(), object, client.DryRunAll)
	}
	for _, of := range podfields.All() {
		for _, field := range of.Fields {
			t.Run(of.Name()+"/"+field.Name, func(t *testing.T) {
				frame := of.Frame(&field)
				for _, value := range field.Takes {
					if err := try(t, "miniplane.dev/v1alpha1", "MiniPod", frame, field.Name, value); err != nil {
						t.Errorf("it %s, and %s is refused: %v", field.Verdict, value, err)
					}
				}
				if field.Not == "" {
					return
				}
				if err := try(t, "miniplane.dev/v1alpha1", "MiniPod", frame, field.Name, field.Not); err == nil || !strings.Contains(err.Error(), field.Name) {
					t.Errorf("it is said that %s is refused, and the API server says: %v", field.Not, err)
				}
			})
			t.Run("native/"+of.Name()+"/"+field.Name, func(t *testing.T) {
				for _, value := range append(field.Takes, field.Not) {
					if value == "" || field.Verdict == podfields.Own || notByHand[of.Name()+"/"+field.Name] != "" {
						continue
					}
					if err := try(t, "v1", "Pod", of.Frame(&field), field.Name, value); err != nil {
						t.Errorf("%s is no example of what a native Pod can have: %v", value, err)
					}
				}
			})
		}
	}
}

// exampleOf is an object with a spec that has the value of a field where the frame says HERE.
func exampleOf(t *testing.T, frame, field, value string) *unstructured.Unstructured {
	t.Helper()
	spec, here := map[string]any{}, any(nil)
	if err := yaml.Unmarshal([]byte(frame), &spec); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	if err := yaml.Unmarshal([]byte(value), &here); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	if n := putHere(spec, field, here); n != 1 {
		t.Fatalf("%s says HERE %d times", frame, n)
	}
	return &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
}

// putHere sets a field of the object that has HERE in it, and tells how many there were.
func putHere(at any, field string, value any) (n int) {
	switch at := at.(type) {
	case []any:
		for _, item := range at {
			n += putHere(item, field, value)
		}
	case map[string]any:
		for _, item := range at {
			n += putHere(item, field, value)
		}
		if _, here := at["HERE"]; here {
			delete(at, "HERE")
			at[field] = value
			return n + 1
		}
	}
	return n
}
