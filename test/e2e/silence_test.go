package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// waitReadyReason waits until the condition Ready of a MiniNode has a reason.
func waitReadyReason(t *testing.T, name, want string, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	watch(ctx, t, &miniv1.MiniNodeList{}, name+" to say "+want, func() (bool, string) {
		n := &miniv1.MiniNode{}
		err := api.Get(ctx, client.ObjectKey{Name: name}, n)
		ready := meta.FindStatusCondition(n.Status.Conditions, miniv1.ConditionReady)
		return ready != nil && ready.Reason == want, fmt.Sprint(ready, err)
	})
}

// companion is one more node that is heard, and takes no MiniPods: a cluster of which nobody is heard moves nothing, whatever else
// is decided.
func companion(t *testing.T) {
	t.Helper()
	name := "companion"
	mini := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		for _, object := range []client.Object{mini, lease} {
			if err := client.IgnoreNotFound(api.Delete(context.Background(), object)); err != nil {
				t.Error(err)
			}
		}
	})
	for _, object := range []client.Object{mini, lease} {
		if err := api.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for ctx.Err() == nil {
			patch := fmt.Appendf(nil, `{"spec":{"holderIdentity":%q,"renewTime":%q}}`, name, time.Now().UTC().Format(metav1.RFC3339Micro))
			_ = api.Patch(ctx, lease.DeepCopy(), client.RawPatch(types.MergePatchType, patch)) // the next one counts
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}()
}

// An upgrade whose image cannot be pulled takes the first agent away, and nothing else: for longer than a lost node would be left
// its MiniPods, they run on, untouched, and services answer. Rolled back, all is as before.
func TestUpgradeThatCannotBePulled(t *testing.T) {
	needs(t, kubelet)
	companion(t)
	w := newWebs(t)
	check := stable(t, namespace(t), 6)
	t.Cleanup(func() {
		kubectl(t, systemNamespace, "set", "image", "ds/miniplane-agent", "agent=miniplane.dev/miniplane:dev")
		rolledOut(t, "ds/miniplane-agent")
		for _, n := range cluster.nodes(t) {
			waitNode(t, n.name, true, patience)
		}
		check()
	})
	failures := w.askAllTheTime()
	kubectl(t, systemNamespace, "set", "image", "ds/miniplane-agent", "agent=miniplane.dev/miniplane:no-such-version")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var away string
	watch(ctx, t, &miniv1.MiniNodeList{}, "a node to say that its agent is away", func() (bool, string) {
		var list miniv1.MiniNodeList
		err := api.List(ctx, &list)
		for _, n := range list.Items {
			if ready := meta.FindStatusCondition(n.Status.Conditions, miniv1.ConditionReady); ready != nil && ready.Reason == miniv1.ReasonAgentAbsent {
				away = n.Name
			}
		}
		return away != "", fmt.Sprint(err)
	})
	t.Log(away, "has no agent")
	time.Sleep(evictionLimit) // The length of the absence is what is tested.
	check()
	waitReadyReason(t, away, miniv1.ReasonAgentAbsent, time.Second)
	if n := failures(); n > 0 {
		t.Errorf("%d requests to the MiniService failed while an agent was away", n)
	}
}

// The power of a node is cut while the quota is full, in cpu and in numbers: what ran there runs elsewhere when its grace period
// is over, and when the node is back everything adds up.
func TestFullQuotaFailsOver(t *testing.T) {
	needs(t, severalNodes)
	nodes := cluster.nodes(t)
	if len(nodes) < 3 {
		t.Fatalf("%d nodes, want 3 (NODES=3)", len(nodes))
	}
	lost := nodes[2].name
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniQuota
metadata: {name: team}
spec:
  hard: {cpu: 900m, count/minipods: 9}
`)
	used := func(want string) func() (bool, string) {
		return func() (bool, string) {
			quota := &miniv1.MiniQuota{}
			err := api.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: "team"}, quota)
			return quota.Status.UsedSummary == want, fmt.Sprint(quota.Status.UsedSummary, err)
		}
	}
	eventually(t, patience, ns, &miniv1.MiniQuotaList{}, "the quota to be enforced", used("count/minipods: 0/9, cpu: 0/900m"))
	apply(t, ns, fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniDeployment
metadata: {name: web}
spec:
  replicas: 9
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: web, image: %q, resources: {requests: {cpu: 100m}}}
`, imageV1))
	waitReady(t, ns, 9, patience)
	if onNode(pods(t, ns))[lost] == 0 {
		t.Fatal("the third node got no MiniPods")
	}
	cluster.fault(t, "node-stop", lost)
	t.Cleanup(func() { cluster.fault(t, "node-start", lost); waitNode(t, lost, true, patience) })
	took := eventually(t, 2*patience, ns, &miniv1.MiniPodList{}, "9 ready MiniPods on the other nodes", func() (bool, string) {
		elsewhere := 0
		list := pods(t, ns)
		for i := range list {
			if podstate.IsActive(&list[i]) && podstate.IsReady(&list[i]) && list[i].Status.NodeName != lost {
				elsewhere++
			}
		}
		return elsewhere == 9, fmt.Sprintf("%d ready elsewhere, %v", elsewhere, onNode(list))
	})
	t.Logf("9 MiniPods run again %.1f s after the power cut, with a full quota", took.Seconds())
	cluster.fault(t, "node-start", lost)
	waitNode(t, lost, true, patience)
	waitReady(t, ns, 9, patience)
	eventually(t, patience, ns, &miniv1.MiniQuotaList{}, "the quota to add up", used("count/minipods: 9/9, cpu: 900m/900m"))
}
