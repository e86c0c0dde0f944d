package claim_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/claim"
	"miniplane.dev/miniplane/test/builders"
)

func TestSort(t *testing.T) {
	owner := &metav1.ObjectMeta{Name: "web", UID: "web"}
	fits, differs := map[string]string{"app": "web"}, map[string]string{"app": "db"}
	pod := func(name string, labels map[string]string, owner types.UID, deleting bool) *miniv1.MiniPod {
		b := builders.Pod("default", name).Labels(labels)
		if deleting {
			b.Deleting(time.Unix(0, 0))
		}
		return b.With(func(p *miniv1.MiniPod) {
			if owner != "" {
				yes := true
				p.OwnerReferences = []metav1.OwnerReference{{UID: owner, Controller: &yes}}
			}
		}).Obj()
	}
	pods := []*miniv1.MiniPod{
		pod("mine", fits, "web", false), pod("mine-differs", differs, "web", false), pod("mine-differs-ending", differs, "web", true),
		pod("other", fits, "db", false), pod("orphan", fits, "", false), pod("orphan-differs", differs, "", false),
		pod("orphan-ending", fits, "", true),
	}
	type names struct{ Mine, Adopt, Release []string }
	for name, tc := range map[string]struct {
		deleting bool
		want     names
	}{
		"in its life":   {false, names{[]string{"mine", "mine-differs-ending"}, []string{"orphan"}, []string{"mine-differs"}}},
		"being deleted": {true, names{[]string{"mine", "mine-differs", "mine-differs-ending"}, nil, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			owner := owner.DeepCopy()
			if tc.deleting {
				now := metav1.Now()
				owner.DeletionTimestamp = &now
			}
			got := claim.Sort(metav1.Object(owner), labels.SelectorFromSet(fits), pods)
			if diff := cmp.Diff(tc.want, names{list(got.Mine), list(got.Adopt), list(got.Release)}); diff != "" {
				t.Errorf("(-want,+got):\n%s", diff)
			}
		})
	}
}

func list(pods []*miniv1.MiniPod) []string {
	var out []string
	for _, pod := range pods {
		out = append(out, pod.Name)
	}
	return out
}
