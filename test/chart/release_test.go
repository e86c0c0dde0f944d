package chart

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"miniplane.dev/miniplane/test/testenv"
)

// A release's life on a real API server: it takes over what kustomize installed, is upgraded, leaves the kinds and their
// objects behind, comes back to them, and takes them along when it is told to. No Pods run here.
func TestRelease(t *testing.T) {
	cfg, _ := testenv.Start(t) // has the kinds and the policies, as kubectl applied them
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
	kubectl("apply", "-f", "config/samples/minideployment.yaml")

	if _, err := helm("upgrade", "miniplane", "charts/miniplane", "--reuse-values", "--set", "serviceCIDR=10.200.0.0/16"); err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{"deployment/miniplane-manager", "daemonset/miniplane-agent"} {
		if args := kubectl("get", object, "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, "--service-cidr=10.200.0.0/16") {
			t.Errorf("%s after the upgrade has %s", object, args)
		}
	}

	if _, err := helm("uninstall", "miniplane"); err != nil {
		t.Fatal(err)
	}
	left := kubectl("get", "deployments,daemonsets,serviceaccounts,clusterroles,clusterrolebindings,validatingadmissionpolicies", "-A",
		"-l", "app.kubernetes.io/managed-by=Helm", "-o", "name")
	if left != "" {
		t.Errorf("left after uninstalling:\n%s", left)
	}
	if kept := kubectl("get", "minideployments", "-o", "name"); !strings.Contains(kept, "minideployment.miniplane.dev/") {
		t.Errorf("the objects did not stay: %q", kept)
	}

	if _, err := helm(append(install, "--set", "crds.keep=false")...); err != nil {
		t.Fatalf("coming back to the kinds that were kept: %v", err)
	}
	if _, err := helm("uninstall", "miniplane"); err != nil {
		t.Fatal(err)
	}
	kubectl("wait", "--for=delete", "crd/minideployments.miniplane.dev", "crd/minipods.miniplane.dev", "--timeout=60s")
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
