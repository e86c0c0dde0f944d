package podsecurity_test

import (
	"reflect"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
)

// TestEachKindOfVolume: whoever adds a kind of volume says here which levels refuse it, and Kubernetes' checks have to agree.
func TestEachKindOfVolume(t *testing.T) {
	refusedBy := map[string]string{"emptyDir": "", "configMap": "", "secret": "", "downwardAPI": "", "projected": "", "image": "", "hostPath": "baseline restricted"}
	kinds := reflect.TypeFor[miniv1.Volume]()
	for field := range kinds.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "name" {
			continue
		}
		levels, known := refusedBy[name]
		if !known {
			t.Errorf("volumes can be %s: which levels of Pod Security refuse that?", name)
			continue
		}
		volume := miniv1.Volume{Name: "v"}
		reflect.ValueOf(&volume).Elem().FieldByIndex(field.Index).Set(reflect.New(field.Type.Elem()))
		subject := pod(conforming, func(p *miniv1.MiniPod) { p.Spec.Volumes = []miniv1.Volume{volume} })
		for _, level := range []string{"privileged", "baseline", "restricted"} {
			refusal := podsecurity.PolicyOf(map[string]string{"pod-security.kubernetes.io/enforce": level}).Check(subject)
			if got, want := refusal != nil, strings.Contains(levels, level); got != want {
				t.Errorf("%s at level %s: refused: %v, want %v: %+v", name, level, got, want, refusal)
			}
		}
		if podsecurity.Digest(subject) == podsecurity.Digest(pod(conforming)) {
			t.Errorf("%s: what was found out of a MiniPod without volumes would be said of one with them", name)
		}
	}
}
