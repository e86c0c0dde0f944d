package main

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// asManager makes the test's program be the manager, for tests with several.
const asManager = "MINIPLANE_TEST_AS_MANAGER"

func TestMain(m *testing.M) {
	if os.Getenv(asManager) != "" {
		main()
		return
	}
	testenv.Main(m)
}

// One manager works and another stands by, which goes on when the first ends.
func TestStandby(t *testing.T) {
	config, c := testenv.Start(t)
	useCluster(t, config)
	ns := testenv.Namespace(t, c)
	start := func() (stop func()) {
		cmd := exec.Command(os.Args[0], "--leader-elect", "--leader-elect-namespace="+ns, "--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:0")
		cmd.Env = append(os.Environ(), asManager+"=1")
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("manager: %v\n%s", err, &log)
			}
		}
	}
	holder := func() string {
		var lease coordinationv1.Lease
		_ = c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "miniplane-manager"}, &lease)
		if lease.Spec.HolderIdentity == nil {
			return ""
		}
		return *lease.Spec.HolderIdentity
	}
	works := func(name string) {
		t.Helper()
		d := &miniv1.MiniDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: miniv1.MiniDeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Strategy: miniv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
		}}
		d.Spec.Template.Metadata.Labels = map[string]string{"app": name}
		d.Spec.Template.Spec.Containers = []miniv1.Container{{Name: "main", Image: "v1"}}
		if err := c.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, func() string {
			var sets miniv1.MiniReplicaSetList
			if err := c.List(t.Context(), &sets, client.InNamespace(ns), client.MatchingLabels{"app": name}); err != nil || len(sets.Items) != 1 {
				return "no set for " + name
			}
			return ""
		})
	}

	stopFirst := start()
	works("one")
	first := holder()
	stopSecond := start()
	works("two")
	if now := holder(); now != first {
		t.Errorf("the lease went from %q to %q", first, now)
	}
	stopFirst()
	works("three")
	if now := holder(); now == first || now == "" {
		t.Errorf("the lease of %q is held by %q", first, now)
	}
	stopSecond()
}

// Who stands by is ready, though it has seen nothing.
func TestReadyWhileStandingBy(t *testing.T) {
	if err := ready(make(chan struct{}), nil)(nil); err != nil {
		t.Error(err)
	}
}
