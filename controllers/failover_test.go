package controllers_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/internal/nodelife"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// world is an API server with all of the manager's controllers, and nodes whose agents do as little as can be: they beat, say that
// they are ready, and let go of what is deleted.
type world struct {
	*testing.T
	client.Client
	ns string
}

func newWorld(t *testing.T) world {
	t.Helper()
	cfg, c := testenv.Start(t)
	_ = c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: miniv1.SystemNamespace}})
	ctrl.SetLogger(logr.Discard())
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{Scheme: testenv.Scheme(), Cache: controllers.Cache(),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := controllers.Setup(t.Context(), mgr, controllers.Options{
		ServiceCIDR: netip.MustParsePrefix("100.96.0.0/16"), PodCIDR: netip.MustParsePrefix("100.64.0.0/11"), NodeMaskBits: 22,
		NodePorts: ipam.PortRange{First: 30000, Last: 32767}, NoDrainMarkers: true,
		NodeGracePeriod: 2 * time.Second, EvictionWait: time.Second, AgentAbsence: time.Minute,
		Brake: nodelife.Brake{Every: time.Millisecond, EverySlow: time.Millisecond, Unhealthy: 550, Large: 50},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error("the manager ended:", err)
		}
	})
	return world{t, c, testenv.Namespace(t, c)}
}

func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// node makes a node that is ready, and whose power can be cut.
func (w world) node(name string) (power *atomic.Bool) {
	w.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	w.must(w.Create(w.Context(), node))
	before := node.DeepCopy()
	node.Spec.Taints = nil // Kubernetes' own controller, which is not here, would take off that it is new
	w.must(w.Patch(w.Context(), node, client.MergeFrom(before)))
	w.must(w.Create(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	for _, namespace := range []string{miniv1.SystemNamespace, corev1.NamespaceNodeLease} {
		w.must(w.Create(w.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}))
	}
	power = &atomic.Bool{}
	power.Store(true)
	ctx := w.Context()
	go func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if power.Load() {
				w.agent(ctx, name)
			}
			<-ticker.C
		}
	}()
	return power
}

// agent is one look of an agent and a kubelet.
func (w world) agent(ctx context.Context, name string) {
	for _, namespace := range []string{miniv1.SystemNamespace, corev1.NamespaceNodeLease} {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		_ = w.Patch(ctx, lease, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"holderIdentity":%q,"renewTime":%q}}`,
			name, time.Now().UTC().Format(metav1.RFC3339Micro))))
	}
	var mini miniv1.MiniNode
	if w.Get(ctx, client.ObjectKey{Name: name}, &mini) == nil && !meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionReady) {
		before := mini.DeepCopy()
		mini.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("100")}
		conditions.Set(&mini.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady})
		_ = w.Status().Patch(ctx, &mini, client.MergeFrom(before))
	}
	for _, pod := range w.pods() {
		if pod.Status.NodeName == name && podstate.IsDeleting(&pod) {
			before := pod.DeepCopy()
			pod.Finalizers = nil
			_ = w.Patch(ctx, &pod, client.MergeFrom(before))
		}
	}
}

func (w world) pods() []miniv1.MiniPod {
	var list miniv1.MiniPodList
	_ = w.List(context.Background(), &list, client.InNamespace(w.ns))
	return list.Items
}

// count does what Kubernetes' own quota controller does, which is not here either, and returns the bound and the count of MiniPods.
func (w world) count() string {
	var quotas corev1.ResourceQuotaList
	_ = w.List(context.Background(), &quotas, client.InNamespace(w.ns))
	out := "none"
	for i := range quotas.Items {
		q := &quotas.Items[i]
		before := q.DeepCopy()
		q.Status.Hard = q.Spec.Hard
		q.Status.Used = corev1.ResourceList{"count/minipods.miniplane.dev": *resource.NewQuantity(int64(len(w.pods())), resource.DecimalSI)}
		_ = w.Status().Patch(context.Background(), q, client.MergeFrom(before))
		hard, used := q.Status.Hard["count/minipods.miniplane.dev"], q.Status.Used["count/minipods.miniplane.dev"]
		out = used.String() + " of " + hard.String()
	}
	return out
}

// placed tells how many active MiniPods are on which node, how many are being deleted, and what the quotas say.
func (w world) placed() string {
	active, deleting := map[string]int{}, 0
	for _, pod := range w.pods() {
		if podstate.IsDeleting(&pod) {
			deleting++
		} else {
			active[pod.Status.NodeName]++
		}
	}
	native := w.count()
	var quota miniv1.MiniQuota
	_ = w.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: "team"}, &quota)
	return fmt.Sprintf("%v, %d go; natively %s; %s", active, deleting, native, quota.Status.UsedSummary)
}

func (w world) until(want string) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		if got := w.placed(); got != want {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
}

// The quota of a namespace is full, in cpu and in numbers, when the power of a node is cut: what ran there runs elsewhere all the
// same, and when the node is back everything adds up.
func TestFullQuotaFailsOver(t *testing.T) {
	w := newWorld(t)
	w.node("a")
	b := w.node("b")
	w.must(w.Create(t.Context(), &miniv1.MiniQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "team"},
		Spec: miniv1.MiniQuotaSpec{Hard: corev1.ResourceList{"cpu": resource.MustParse("1"), "count/minipods": resource.MustParse("4")}}}))
	w.until("map[], 0 go; natively 0 of 4; count/minipods: 0/4, cpu: 0/1")

	labels := map[string]string{"app": "web"}
	w.must(w.Create(t.Context(), &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "web"},
		Spec: miniv1.MiniReplicaSetSpec{Replicas: new(int32(4)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: miniv1.MiniPodTemplateSpec{Metadata: miniv1.TemplateMeta{Labels: labels}, Spec: miniv1.MiniPodSpec{
				TerminationGracePeriodSeconds: new(int64(0)),
				Containers: []miniv1.Container{{Name: "main", Image: "echo:test", Resources: miniv1.ResourceRequirements{
					Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")}}}}}}}}))
	w.until("map[a:2 b:2], 0 go; natively 4 of 4; count/minipods: 4/4, cpu: 1/1")

	b.Store(false)
	w.until("map[a:2], 2 go; natively 4 of 4; count/minipods: 4/4, cpu: 1/1")
	w.until("map[a:4], 2 go; natively 6 of 6; count/minipods: 4/4, cpu: 1/1")

	b.Store(true)
	w.until("map[a:4], 0 go; natively 4 of 4; count/minipods: 4/4, cpu: 1/1")
}
