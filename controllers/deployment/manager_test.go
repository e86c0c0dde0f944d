package deployment_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/deployment"
	"miniplane.dev/miniplane/controllers/replicaset"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/testenv"
)

// startManager runs both controllers with real caches and watches, and a third that plays scheduler and agents at once:
// images called "broken" never become ready.
func startManager(t *testing.T) {
	t.Helper()
	testenv.StartManager(t, func(mgr ctrl.Manager) error {
		if err := deployment.Setup(mgr, deployment.Options{}); err != nil {
			return err
		}
		if err := replicaset.Setup(mgr, replicaset.Options{}); err != nil {
			return err
		}
		return ctrl.NewControllerManagedBy(mgr).Named("node").For(&miniv1.MiniPod{}).Complete(node(mgr.GetClient()))
	})
}

func node(c client.Client) reconcile.Func {
	return func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		pod := &miniv1.MiniPod{}
		if err := c.Get(ctx, req.NamespacedName, pod); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		before := pod.DeepCopy()
		if podstate.IsDeleting(pod) {
			pod.Finalizers = nil
			return ctrl.Result{}, client.IgnoreNotFound(c.Patch(ctx, pod, client.MergeFrom(before)))
		}
		if podstate.IsReady(pod) || pod.Spec.Containers[0].Image == "broken" {
			return ctrl.Result{}, nil
		}
		pod.Status.NodeName, pod.Status.Phase = "node-a", miniv1.PodRunning
		conditions.Set(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonContainersReady})
		return ctrl.Result{}, client.IgnoreNotFound(c.Status().Patch(ctx, pod, client.MergeFrom(before)))
	}
}

// eventually waits until the MiniDeployment's latest spec is carried out.
func (w *world) eventually(d *miniv1.MiniDeployment, running string) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		w.read(d)
		if got := w.running(); got != running+" " {
			return fmt.Sprintf("runs %q, want %q", got, running)
		}
		if d.Status.ObservedGeneration != d.Generation || condition(d, miniv1.ConditionReady) != "True/ReplicasReady" {
			return fmt.Sprintf("not ready: %+v", d.Status)
		}
		return ""
	})
}

// retryEdit edits the MiniDeployment, whose revision annotation the controller may be writing.
func (w *world) retryEdit(d *miniv1.MiniDeployment, change func(*miniv1.MiniDeploymentSpec)) {
	w.Helper()
	w.read(d)
	before := d.DeepCopy()
	change(&d.Spec)
	w.must(w.Patch(w.Context(), d, client.MergeFrom(before)))
}

func TestManager(t *testing.T) {
	w := newWorld(t)
	startManager(t)
	d := w.deployment("web", 3)
	w.eventually(d, "v1:3@1")
	w.retryEdit(d, image("v2"))
	w.eventually(d, "v2:3@2")
	w.retryEdit(d, scale(8))
	w.eventually(d, "v2:8@2")
	w.retryEdit(d, func(s *miniv1.MiniDeploymentSpec) { s.RollbackTo = &miniv1.RollbackConfig{Revision: 1} })
	w.eventually(d, "v1:8@3")
	w.retryEdit(d, func(s *miniv1.MiniDeploymentSpec) {
		s.RollbackTo = nil
		s.Template.Spec.Containers[0].Image = "v3"
		s.Strategy = miniv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	})
	w.eventually(d, "v3:8@4")

	// A set that somebody deletes comes back, with new MiniPods beside the orphaned ones, which it takes over.
	newest := w.all()[2]
	w.must(w.Delete(t.Context(), newest, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	for _, pod := range w.pods() {
		w.must(client.IgnoreNotFound(w.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`)))))
	}
	w.eventually(d, "v3:8@4")

	// A set released by its labels, and one that comes without an owner, wake the MiniDeployment.
	set := w.all()[2]
	w.must(w.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"aside"}}}`))))
	testenv.Eventually(t, func() string {
		w.read(set)
		if len(set.OwnerReferences) > 0 {
			return "not released"
		}
		return ""
	})
	w.must(w.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"web"}}}`))))
	testenv.Eventually(t, func() string {
		if w.read(set); len(set.OwnerReferences) == 0 {
			return "not adopted"
		}
		return ""
	})
}

// The bounds hold while everybody moves at the same time; what really runs is counted all along.
func TestManagerKeepsBounds(t *testing.T) {
	w := newWorld(t)
	startManager(t)
	d := w.deployment("web", 12, bounds("3", "2"))
	w.eventually(d, "v1:12@1")
	w.least, w.most = 10, 15
	for _, step := range []struct{ image, until string }{{"v2", "v2:12@2 "}, {"broken", "broken:5@3"}, {"v4", "v4:12@4 "}} {
		w.retryEdit(d, image(step.image))
		testenv.Eventually(t, func() string {
			w.check(d)
			if got := w.running(); !strings.Contains(got, step.until) {
				return fmt.Sprintf("runs %q, want %q", got, step.until)
			}
			return ""
		})
	}
	w.eventually(d, "v4:12@4")
}

// Deletion cascades by owner references, as Kubernetes' own garbage collector does it.
func TestCascade(t *testing.T) {
	w := newWorld(t)
	startManager(t)
	startGarbageCollector(t)
	count := func() string {
		return fmt.Sprintf("%d sets, %d MiniPods", len(w.all()), len(w.pods()))
	}
	for i, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		d := w.deployment(fmt.Sprintf("web-%d", i), 2)
		w.eventually(d, "v1:2@1")
		w.must(w.Delete(t.Context(), d, client.PropagationPolicy(policy)))
		want := "0 sets, 0 MiniPods"
		if policy == metav1.DeletePropagationOrphan {
			want = "1 sets, 2 MiniPods"
		}
		testenv.Eventually(t, func() string {
			if gone := client.IgnoreNotFound(w.Get(t.Context(), client.ObjectKeyFromObject(d), d)) == nil && d.UID == ""; gone {
				return string(policy) + ": still there"
			}
			if got := count(); got != want {
				return fmt.Sprintf("%s: %s, want %s", policy, got, want)
			}
			return ""
		})
	}
	testenv.Never(t, time.Second, func() string {
		if got := count(); got != "1 sets, 2 MiniPods" {
			return "orphans are touched: " + got
		}
		return ""
	})
	if set := w.all()[0]; len(set.OwnerReferences) != 0 {
		t.Errorf("the orphan has owners: %v", set.OwnerReferences)
	}
}

// startGarbageCollector runs that part of the real kube-controller-manager until the test ends.
func startGarbageCollector(t *testing.T) {
	t.Helper()
	config, _ := testenv.Start(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(kubeconfig(config), path); err != nil {
		t.Fatal(err)
	}
	dir, err := exec.Command(filepath.Join(testenv.Root(), "hack", "assets.sh"), "kube-controller-manager").Output()
	if err != nil {
		t.Fatalf("hack/assets.sh: %v", err)
	}
	output, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	manager := exec.Command(filepath.Join(strings.TrimSpace(string(dir)), "kube-controller-manager"),
		"--kubeconfig="+path, "--controllers=garbage-collector-controller", "--leader-elect=false", "--secure-port=0")
	manager.Stdout, manager.Stderr = output, output
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = manager.Process.Kill()
		_ = manager.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(output.Name())
			t.Logf("kube-controller-manager:\n%s", log[max(0, len(log)-4000):])
		}
	})
}

func kubeconfig(config *rest.Config) clientcmdapi.Config {
	out := clientcmdapi.NewConfig()
	out.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	out.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken}
	out.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	out.CurrentContext = "test"
	return *out
}
