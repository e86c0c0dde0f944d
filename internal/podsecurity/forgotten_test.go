package podsecurity_test

import (
	"reflect"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
)

// Every boolean of a MiniPod's spec, wherever it stands at its top, is tried: one that a level judges is in the digest, by which MiniPods are
// judged alike. Those that are known to be judged must be.
func TestNoNamespaceIsForgotten(t *testing.T) {
	judged := map[string]bool{}
	for _, level := range []string{"baseline", "restricted"} {
		policy := podsecurity.PolicyOf(map[string]string{enforce: level})
		plain := pod(conforming)
		if refusal := policy.Check(plain); refusal != nil {
			t.Fatal(refusal)
		}
		for _, field := range reflect.VisibleFields(reflect.TypeFor[miniv1.MiniPodSpec]()) {
			said := pod(conforming)
			value := reflect.ValueOf(&said.Spec).Elem().FieldByIndex(field.Index)
			switch {
			case field.Type.Kind() == reflect.Bool:
				value.SetBool(true)
			case field.Type == reflect.TypeFor[*bool]():
				value.Set(reflect.ValueOf(new(true)))
			default:
				continue
			}
			if policy.Check(said) == nil {
				continue
			}
			judged[field.Name] = true
			if podsecurity.Digest(said) == podsecurity.Digest(plain) {
				t.Errorf("%s is judged by %s, and not in the digest", field.Name, level)
			}
		}
	}
	for _, name := range []string{"HostNetwork", "HostPID", "HostIPC"} {
		if !judged[name] {
			t.Errorf("%s is not judged", name)
		}
	}
}
