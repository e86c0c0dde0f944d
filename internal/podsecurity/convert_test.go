package podsecurity_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
)

// fill gives every field a value that is not its zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	if v.Type() == reflect.TypeFor[resource.Quantity]() {
		v.Set(reflect.ValueOf(resource.MustParse("3")))
		return
	}
	if v.Type() == reflect.TypeFor[intstr.IntOrString]() {
		v.Set(reflect.ValueOf(intstr.FromInt32(7)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	default:
		t.Fatalf("a field of kind %s: teach this test to fill it", v.Kind())
	}
}

// Whatever a MiniPod can say, the Pod that is judged says too. A field that core/v1 does not have fails this test: it must not
// come into a MiniPod without a decision about what Pod Security has to say of it.
func TestNothingIsLost(t *testing.T) {
	pod := &miniv1.MiniPod{}
	fill(t, reflect.ValueOf(&pod.Spec).Elem())
	pod.Annotations = map[string]string{"a": "b"}
	meta, spec, err := podsecurity.AsPod(pod)
	if err != nil {
		t.Fatal(err)
	}
	if said := len(pod.Spec.Volumes); len(spec.Volumes) != said+1 {
		t.Errorf("automountServiceAccountToken stands for a volume; there are %d, and %d are said", len(spec.Volumes), said)
	}
	pod = pod.WithAPIAccess()
	probes := 0
	for _, c := range pod.Spec.AllContainers() {
		for _, probe := range c.Probes() {
			probes++
			probe.PeriodMilliseconds = 0 // is of our own, and left out
		}
	}
	if probes != 6 {
		t.Errorf("%d probes", probes)
	}
	if diff := cmp.Diff(pod.Annotations, meta.Annotations); diff != "" {
		t.Errorf("annotations (-MiniPod +Pod):\n%s", diff)
	}
	if diff := cmp.Diff(asJSON(t, pod.Spec), asJSON(t, spec)); diff != "" {
		t.Errorf("spec (-MiniPod +Pod):\n%s", diff)
	}
}

func asJSON(t *testing.T, v any) (out map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
