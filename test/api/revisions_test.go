package api

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonplan"
	"miniplane.dev/miniplane/test/testenv"
)

// Of ControllerRevisions the manager may write what MiniDaemonSets have, and take over what belongs to nobody; those of native kinds
// it may not touch.
func TestManagerMayWriteItsRevisions(t *testing.T) {
	_, admin := managerWithRights(t)
	config, _ := testenv.Start(t)
	manager := as(t, config, rest.ImpersonationConfig{
		UserName: "system:serviceaccount:miniplane-system:miniplane-manager", Groups: []string{"system:serviceaccounts", "system:authenticated"}})
	namespace := testenv.Namespace(t, admin)
	revision := func(name, owner, label string) *appsv1.ControllerRevision {
		out := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{miniv1.RevisionLabel: label}},
			Data: runtime.RawExtension{Raw: []byte("{}")}, Revision: 1}
		if owner != "" {
			group := map[bool]string{true: "miniplane.dev/v1alpha1", false: "apps/v1"}[strings.HasPrefix(owner, "Mini")]
			out.OwnerReferences = []metav1.OwnerReference{{APIVersion: group, Kind: owner, Name: "web", UID: "web", Controller: new(true)}}
		}
		return out
	}
	label := daemonplan.RevisionLabels()[miniv1.RevisionLabel]
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "no ControllerRevisions but those of MiniDaemonSets") {
			t.Errorf("%s: %v", what, err)
		}
	}
	testenv.Eventually(t, func() string { // policies take a moment
		if err := manager.Create(t.Context(), revision("foreign", "StatefulSet", label), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "no ControllerRevisions but") {
			return "not refused yet: " + errorText(err)
		}
		return ""
	})
	refused("one without the label", manager.Create(t.Context(), revision("a", "MiniDaemonSet", ""), client.DryRunAll))
	refused("one of nobody", manager.Create(t.Context(), revision("a", "", label), client.DryRunAll))

	own := revision("own", "MiniDaemonSet", label)
	if err := manager.Create(t.Context(), own); err != nil {
		t.Errorf("make: %v", err)
	}
	before := own.DeepCopy()
	own.Revision = 2
	if err := manager.Patch(t.Context(), own, client.MergeFrom(before)); err != nil {
		t.Errorf("count: %v", err)
	}
	if err := manager.Delete(t.Context(), own); err != nil {
		t.Errorf("delete: %v", err)
	}

	for _, object := range []*appsv1.ControllerRevision{revision("native", "StatefulSet", ""), revision("labelled", "StatefulSet", label), revision("orphan", "", label)} {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	number := client.RawPatch(mergePatch, []byte(`{"revision":7}`))
	for _, name := range []string{"native", "labelled"} {
		refused("to count "+name, manager.Patch(t.Context(), revision(name, "", ""), number))
		refused("to delete "+name, manager.Delete(t.Context(), revision(name, "", "")))
	}
	adopt := client.RawPatch(mergePatch, []byte(`{"metadata":{"ownerReferences":[{"apiVersion":"miniplane.dev/v1alpha1","kind":"MiniDaemonSet","name":"web","uid":"web","controller":true}]}}`))
	if err := manager.Patch(t.Context(), revision("orphan", "", ""), adopt); err != nil {
		t.Errorf("take over: %v", err)
	}
}
