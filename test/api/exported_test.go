package api

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

// What comes out of a cluster has a status, with all that the API server's version knows. It is of no use to the new kind, and nobody has
// to cut it off.
func TestStatusOfANativeObjectIsTaken(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for manifest, status := range map[string]any{
		podWith("", "args: [a]"):           &corev1.PodStatus{},
		serviceWith("ports: [{port: 80}]"): &corev1.ServiceStatus{},
		"kind: MiniDeployment\nmetadata: {name: probe}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: x}]}}}\n": &appsv1.DeploymentStatus{},
		"kind: MiniReplicaSet\nmetadata: {name: probe}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: x}]}}}\n": &appsv1.ReplicaSetStatus{},
		"kind: MiniDaemonSet\nmetadata: {name: probe}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: x}]}}}\n":  &appsv1.DaemonSetStatus{},
		"kind: MiniJob\nmetadata: {name: probe}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}}\n":                                               &batchv1.JobStatus{},
	} {
		fill(reflect.ValueOf(status).Elem())
		text, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("apiVersion: miniplane.dev/v1alpha1\n"+manifest), object); err != nil {
			t.Fatal(err)
		}
		object.SetNamespace(namespace)
		var all map[string]any
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		object.Object["status"] = all
		if err := strict(c).Create(t.Context(), object.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("%s: %v", object.GetKind(), err)
		}
		if err := strict(c).Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("me"), client.DryRunAll); err != nil {
			t.Errorf("%s, by apply on the server's side: %v", object.GetKind(), err)
		}
	}
}

// fill gives every field of a value, and of what is in it, a value.
func fill(v reflect.Value) {
	switch at := v.Addr().Interface().(type) {
	case *metav1.Time:
		*at = metav1.NewTime(time.Unix(1, 0))
		return
	case *resource.Quantity:
		*at = resource.MustParse("1")
		return
	case *intstr.IntOrString:
		*at = intstr.FromInt32(1)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("a")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	}
}
