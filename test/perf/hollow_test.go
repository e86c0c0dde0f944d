package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/node"
	"miniplane.dev/miniplane/controllers/replicaset"
	"miniplane.dev/miniplane/controllers/scheduling"
	"miniplane.dev/miniplane/test/perf/report"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// Hollow nodes are nodes to the real scheduler and the real controllers, and nothing is left when they are gone. The native
// side has no controllers here; a full cluster has them.
func TestHollow(t *testing.T) {
	config, api := testenv.Start(t)
	withWatch, err := client.NewWithWatch(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: miniv1.SystemNamespace}}); err != nil {
		t.Fatal(err)
	}
	testenv.StartManager(t, func(mgr ctrl.Manager) error {
		return errors.Join(scheduling.Setup(mgr, scheduling.Options{}), replicaset.Setup(mgr, replicaset.Options{}),
			node.Setup(mgr, node.Options{PodCIDR: netip.MustParsePrefix("100.64.0.0/11")}))
	}, node.ByObject())
	go untaint(t.Context(), withWatch)

	b := newBench(t, 1)
	b.api, b.config, b.namespace = withWatch, config, testenv.Namespace(t, api)
	b.sides, b.result.Sides = []side{mini{}}, []string{report.Mini}
	b.hollowNodes, b.hollowPods, b.image = 3, 20, "none"
	undo, err := hollowNodes(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	found, err := hollow(t.Context(), b, mini{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"hollow.rate", "hollow.scale", "hollow.scale.bound"} {
		if len(found[key]) != 1 || found[key][0] <= 0 {
			t.Errorf("%s: %v", key, found[key])
		}
	}
	undo()
	for _, list := range []client.ObjectList{&corev1.NodeList{}, &miniv1.MiniNodeList{}, &miniv1.MiniPodList{}, &miniv1.MiniReplicaSetList{}} {
		if err := api.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		_ = eachItem(list, func(o client.Object) error { t.Errorf("left: %T %s", o, o.GetName()); return nil })
	}
}

// untaint does what Kubernetes' own controllers do to a new node that is ready.
func untaint(ctx context.Context, api client.WithWatch) {
	for ctx.Err() == nil {
		var nodes corev1.NodeList
		_ = api.List(ctx, &nodes)
		for _, n := range nodes.Items {
			if len(n.Spec.Taints) > 0 {
				before := n.DeepCopy()
				n.Spec.Taints = nil
				_ = api.Patch(ctx, &n, client.MergeFrom(before))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}
