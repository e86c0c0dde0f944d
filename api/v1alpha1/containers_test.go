package v1alpha1

import (
	"reflect"
	"testing"
)

// Whatever list of containers a MiniPod has, AllContainers goes through it: what it leaves out would be judged by no Pod Security,
// charged to no quota and given no room.
func TestNoContainerIsForgotten(t *testing.T) {
	spec := &MiniPodSpec{}
	want := map[*Container]bool{}
	for field, value := range reflect.ValueOf(spec).Elem().Fields() {
		if value.Kind() != reflect.Slice || value.Type().Elem() != reflect.TypeFor[Container]() {
			if mentions(value.Type(), reflect.TypeFor[Container](), map[reflect.Type]bool{}) {
				t.Errorf("spec.%s has containers in it: teach AllContainers, and this test, to find them", field.Name)
			}
			continue
		}
		value.Set(reflect.MakeSlice(value.Type(), 2, 2))
		for i := range value.Len() {
			want[value.Index(i).Addr().Interface().(*Container)] = true
		}
	}
	if len(want) == 0 {
		t.Fatal("no containers at all: this test looks in the wrong place")
	}
	last := ContainerInit
	for kind, c := range spec.AllContainers() {
		if !want[c] {
			t.Errorf("%s container %p comes twice, or is a copy", kind, c)
		}
		if last == ContainerMain && kind != ContainerMain {
			t.Errorf("%s container after a main one", kind)
		}
		last = kind
		delete(want, c)
	}
	if len(want) > 0 {
		t.Errorf("%d containers are left out", len(want))
	}
	for range spec.AllContainers() {
		break // who stops is not called again
	}
}

// mentions tells whether a type has another in it.
func mentions(in, what reflect.Type, seen map[reflect.Type]bool) bool {
	if in == what {
		return true
	}
	if seen[in] {
		return false
	}
	seen[in] = true
	switch in.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return mentions(in.Elem(), what, seen)
	case reflect.Map:
		return mentions(in.Elem(), what, seen) || mentions(in.Key(), what, seen)
	case reflect.Struct:
		for field := range in.Fields() {
			if mentions(field.Type, what, seen) {
				return true
			}
		}
	}
	return false
}

func TestKinds(t *testing.T) {
	for kind, lasts := range map[ContainerKind]bool{ContainerInit: false, ContainerSidecar: true, ContainerMain: true} {
		if kind.Lasts() != lasts {
			t.Errorf("%s lasts: %t", kind, kind.Lasts())
		}
	}
}
