package api

import (
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/test/testenv"
)

// What runs miniplane cannot be deleted as long as the guard is there, and everything else can.
func TestGuard(t *testing.T) {
	_, c := testenv.Start(t)
	if err := testenv.Apply(t.Context(), c, filepath.Join(testenv.Root(), "config", "policy", "uninstall.yaml")); err != nil {
		t.Fatal(err)
	}
	ns := testenv.Namespace(t, c)
	account := func(name string, labels map[string]string) *corev1.ServiceAccount {
		object := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}}
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		return object
	}
	ours := account("ours", map[string]string{"app.kubernetes.io/part-of": "miniplane"})
	testenv.Eventually(t, func() string { // policies are compiled in the background
		err := c.Delete(t.Context(), ours, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "kubectl apply -k config/uninstall") {
			return "deleting what runs miniplane is not refused: " + errorText(err)
		}
		return ""
	})
	if err := c.Delete(t.Context(), account("theirs", nil)); err != nil {
		t.Errorf("deleting somebody else's: %v", err)
	}
	guard := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "uninstall.miniplane.dev"}}
	if err := c.Delete(t.Context(), guard); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() string { return errorText(c.Delete(t.Context(), ours)) })
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
