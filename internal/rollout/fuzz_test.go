package rollout

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Whatever somebody writes into the annotations of a set, its number can be counted on from, and its history has no empty numbers.
func FuzzRevision(f *testing.F) {
	f.Add("3", "1,2")
	f.Add("9223372036854775807", ",,1,")
	f.Add("-1", "x")
	f.Add("+7", " ")
	f.Fuzz(func(t *testing.T, revision, past string) {
		set := &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			miniv1.RevisionAnnotation: revision, miniv1.RevisionHistoryAnnotation: past,
		}}}
		if n := Revision(set); n < 0 || n+1 < n {
			t.Errorf("revision %d of %q", n, revision)
		}
		for _, number := range history(set) {
			if number == "" {
				t.Errorf("history %q of %q", history(set), past)
			}
		}
	})
}
