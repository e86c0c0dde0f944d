// Package testenv gives tests a real API server: etcd and kube-apiserver on loopback, with miniplane's CRDs and admission
// policies installed. One server per test package, started by the first test that asks for it.
package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/slow"
)

var (
	once     sync.Once
	server   *envtest.Environment
	config   *rest.Config
	startErr error
)

// Main runs the tests of a package and stops the API server after them. Call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "testenv: stopping the API server:", err)
		}
	}
	os.Exit(code)
}

// Scheme knows the native kinds and miniplane's.
func Scheme() *apiruntime.Scheme {
	scheme := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{clientgoscheme.AddToScheme, miniv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

// Start returns the configuration of, and a client for, the package's API server. Where the programs are missing it builds
// them, which needs Go and takes minutes the first time on a machine.
func Start(t *testing.T) (*rest.Config, client.Client) {
	t.Helper()
	once.Do(start)
	if startErr != nil {
		t.Fatalf("testenv: %v", startErr)
	}
	c, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatalf("testenv: client: %v", err)
	}
	return rest.CopyConfig(config), c
}

// Namespace makes a namespace of its own for a test, with a name that no other test has.
func Namespace(t *testing.T, c client.Client) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatalf("testenv: namespace: %v", err)
	}
	return ns.Name
}

func start() {
	root := Root()
	out, err := exec.Command(filepath.Join(root, "hack", "assets.sh"), "etcd", "kube-apiserver").Output()
	if err != nil {
		startErr = fmt.Errorf("hack/assets.sh: %w", err)
		return
	}
	env := &envtest.Environment{
		Scheme:                Scheme(),
		BinaryAssetsDirectory: strings.TrimSpace(string(out)),
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, startErr = env.Start()
	if startErr != nil {
		return
	}
	config.QPS, config.Burst = -1, -1
	server = env
	startErr = installPolicies(filepath.Join(root, "config", "policy"))
}

// installPolicies installs the admission policies, and waits until the API server enforces them.
func installPolicies(dir string) error {
	c, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		return err
	}
	for _, file := range []string{"resources.yaml", "changes.yaml", "agents.yaml", "grants.yaml"} {
		if err := Apply(context.Background(), c, filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	agent, err := MasterAs("system:miniplane:node:one", "system:miniplane:nodes")
	if err != nil {
		return err
	}
	manager, err := MasterAs("system:serviceaccount:miniplane-system:miniplane-manager")
	if err != nil {
		return err
	}
	// The API server compiles policies in the background and tells nobody: probe each with something that must be refused.
	quota := &miniv1.MiniQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "probe"},
		Spec: miniv1.MiniQuotaSpec{Hard: corev1.ResourceList{"no-such-resource": resource.MustParse("1")}}}
	node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "another"}}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "another"}}
	grant := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "miniplane:node:another"}}
	return wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, slow.By(time.Minute), true, func(ctx context.Context) (bool, error) {
		return refused(c.Create(ctx, quota.DeepCopy(), client.DryRunAll), "no-such-resource") &&
			refused(agent.Create(ctx, node.DeepCopy(), client.DryRunAll), "node one") &&
			refused(manager.Create(ctx, role.DeepCopy(), client.DryRunAll), "grants.miniplane.dev") &&
			refused(c.Create(ctx, grant.DeepCopy(), client.DryRunAll), "grantees.miniplane.dev"), nil
	})
}

// MasterAs is a client, after Start, with all rights, to whom the policies for this user apply.
func MasterAs(user string, groups ...string) (client.Client, error) {
	as := rest.CopyConfig(config)
	as.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:masters")}
	return client.New(as, client.Options{Scheme: Scheme()})
}

func refused(err error, because string) bool {
	return err != nil && strings.Contains(err.Error(), because)
}

// Apply creates the objects of a YAML file.
func Apply(ctx context.Context, c client.Client, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := c.Create(ctx, object); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// Root is the directory of the source tree.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
