package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/uninstall"
	"miniplane.dev/miniplane/test/testenv"
)

// A release's life on a real API server: it takes over what kustomize installed, is upgraded, leaves the kinds behind, comes
// back to them, and takes them along when it is told to. No Pods run here, so the hook's work is done by the test.
func TestRelease(t *testing.T) {
	cfg, c := testenv.Start(t) // has the kinds and the policies, as kubectl applied them
	config := kubeconfig(t, cfg)
	helm := func(args ...string) (string, error) {
		return run(t, "helm", append(args, "--namespace", namespace, "--kubeconfig", config)...)
	}
	kubectl := func(args ...string) string { return must(t, "kubectl", append(args, "--kubeconfig", config)...) }
	install := []string{"install", "miniplane", "charts/miniplane", "--create-namespace"}

	if _, err := helm(install...); err == nil || !strings.Contains(err.Error(), "invalid ownership metadata") {
		t.Errorf("helm took over what kustomize installed without being told to: %v", err)
	}
	notes, err := helm(append(install, "--take-ownership", "--force-conflicts", "--set", "agent.resources.requests.cpu=2")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kubectl get mininodes", "may ask for cpu 2 and memory 1Gi together"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	installed := kubectl("get", "deployments,daemonsets,poddisruptionbudgets,roles,rolebindings,serviceaccounts", "-n", namespace, "-o", "name")
	for _, want := range []string{"deployment.apps/miniplane-manager", "daemonset.apps/miniplane-agent", "role.rbac.authorization.k8s.io/miniplane-agent", "serviceaccount/miniplane-manager"} {
		if !strings.Contains(installed, want) {
			t.Errorf("%s was not installed, only\n%s", want, installed)
		}
	}

	if _, err := helm("upgrade", "miniplane", "charts/miniplane", "--reuse-values", "--set", "serviceCIDR=10.200.0.0/16"); err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{"deployment/miniplane-manager", "daemonset/miniplane-agent"} {
		if args := kubectl("get", object, "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, "--service-cidr=10.200.0.0/16") {
			t.Errorf("%s after the upgrade has %s", object, args)
		}
	}

	labelled := labelledChart(t)
	const label = "kubectl label namespace miniplane-system pod-security.kubernetes.io/enforce=privileged"
	for _, missing := range []bool{true, false} {
		notes, err := helm("upgrade", "miniplane", labelled, "--dry-run=server")
		if err != nil || strings.Contains(notes, label) != missing {
			t.Errorf("with the namespace's label missing (%v), the notes are, %v:\n%s", missing, err, notes)
		}
		kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged", "--overwrite")
	}

	kubectl("apply", "-f", "config/samples/minideployment.yaml")
	remove := func() {
		t.Helper()
		// What the hook's Job does.
		if err := uninstall.Run(t.Context(), c, logr.Discard()); err != nil {
			t.Fatal(err)
		}
		if _, err := helm("uninstall", "miniplane", "--no-hooks"); err != nil {
			t.Fatal(err)
		}
		finalize(t, c, miniv1.NodesNamespace)
	}
	remove()
	left := kubectl("get", "deployments,daemonsets,serviceaccounts,clusterroles,clusterrolebindings,validatingadmissionpolicies", "-A",
		"-l", "app.kubernetes.io/managed-by=Helm", "-o", "name")
	if left != "" {
		t.Errorf("left after uninstalling:\n%s", left)
	}
	if kinds := kubectl("get", "crd", "-l", "app.kubernetes.io/managed-by=Helm", "-o", "name"); !strings.Contains(kinds, "/minipods.miniplane.dev") {
		t.Errorf("the kinds did not stay: %q", kinds)
	}

	if _, err := helm(append(install, "--set", "crds.keep=false")...); err != nil {
		t.Fatalf("coming back to the kinds that were kept: %v", err)
	}
	remove()
	kubectl("wait", "--for=delete", "crd/minideployments.miniplane.dev", "crd/minipods.miniplane.dev", "--timeout=60s")
}

// finalize lets a deleted namespace go, as Kubernetes' controllers do, which do not run here; what was in it is gone already.
func finalize(t *testing.T, c client.Client, name string) {
	t.Helper()
	ns := &corev1.Namespace{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, ns); err != nil || ns.DeletionTimestamp == nil {
		t.Fatalf("namespace %s was not deleted: %v", name, err)
	}
	ns.Spec.Finalizers = nil
	if err := c.SubResource("finalize").Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
}

// labelledChart is the chart as it is when config/ gives the namespace a label that lets the agents run there.
func labelledChart(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(testenv.Root(), "charts", "miniplane"))); err != nil {
		t.Fatal(err)
	}
	define := `{{- define "miniplane.namespaceLabels" }}pod-security.kubernetes.io/enforce=privileged{{ end }}`
	if err := os.WriteFile(filepath.Join(dir, "templates", "_namespace.tpl"), []byte(define), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func kubeconfig(t *testing.T, cfg *rest.Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: cfg.Host, CertificateAuthorityData: cfg.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
