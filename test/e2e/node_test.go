package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/slow"
)

// evictionLimit is the stated time within which the MiniPods of a lost node run elsewhere: 16 s until its silence counts, 20 s
// of wait, and the start.
var evictionLimit = slow.By(45 * time.Second)

// waitNode waits until a node's agent is ready, or not.
func waitNode(t *testing.T, name string, want bool, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) // also in clean-ups
	defer cancel()
	watch(ctx, t, &miniv1.MiniNodeList{}, fmt.Sprintf("%s ready: %v", name, want), func() (bool, string) {
		n := &miniv1.MiniNode{}
		err := api.Get(ctx, client.ObjectKey{Name: name}, n)
		return meta.IsStatusConditionTrue(n.Status.Conditions, miniv1.ConditionReady) == want, fmt.Sprint(n.Status.Conditions, err)
	})
}

// A node that goes away for good loses its MiniPods to the others; when it comes back, nothing runs twice.
func TestNodeLostAndReturned(t *testing.T) {
	needs(t, severalNodes)
	nodes := cluster.nodes(t)
	if len(nodes) < 3 {
		t.Fatalf("%d nodes, want 3 (NODES=3)", len(nodes))
	}
	lost := nodes[2].name
	ns := namespace(t)
	apply(t, ns, deployment("web", 9, imageV1))
	waitReady(t, ns, 9, patience)
	on := onNode(pods(t, ns))
	if on[lost] == 0 {
		t.Fatalf("the third node got no MiniPods: %v", on)
	}

	cluster.fault(t, "node-stop", lost)
	t.Cleanup(func() { cluster.fault(t, "node-start", lost); waitNode(t, lost, true, patience) })
	took := eventually(t, evictionLimit, ns, &miniv1.MiniPodList{}, "9 ready MiniPods on the other nodes", func() (bool, string) {
		elsewhere := 0
		list := pods(t, ns)
		for i := range list {
			if podstate.IsActive(&list[i]) && podstate.IsReady(&list[i]) && list[i].Status.NodeName != lost {
				elsewhere++
			}
		}
		return elsewhere == 9, fmt.Sprintf("%d ready elsewhere, %v", elsewhere, onNode(list))
	})
	t.Logf("9 MiniPods run again %.1f s after the node went", took.Seconds())
	waitNode(t, lost, false, patience)

	cluster.fault(t, "node-start", lost)
	waitNode(t, lost, true, patience)
	waitReady(t, ns, 9, patience)
	if left := cluster.traces(t, lost); containsPod(left, "container") {
		t.Errorf("the returned node still has containers of MiniPods that were replaced:\n%v", left)
	}
}

// A node that is cordoned, or tainted, through the core Node gets no MiniPods; they wait with the reason and start when it is free.
func TestCordonAndTaint(t *testing.T) {
	ns := namespace(t)
	for _, n := range cluster.nodes(t) {
		kubectl(t, ns, "cordon", n.name)
		t.Cleanup(func() { kubectl(t, ns, "uncordon", n.name) })
	}
	apply(t, ns, deployment("web", 1, imageV1))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the reason to be shown", func() (bool, string) {
		list := pods(t, ns)
		if len(list) != 1 {
			return false, fmt.Sprint(len(list))
		}
		scheduled := meta.FindStatusCondition(list[0].Status.Conditions, miniv1.ConditionPodScheduled)
		return scheduled != nil && scheduled.Reason == miniv1.ReasonUnschedulable, fmt.Sprint(scheduled)
	})
	first := cluster.nodes(t)[0].name
	kubectl(t, ns, "taint", "node", first, "team=blue:NoSchedule")
	t.Cleanup(func() { kubectl(t, ns, "taint", "node", first, "team-") })
	kubectl(t, ns, "uncordon", first)
	kubectl(t, ns, "patch", "mdeploy", "web", "--type=merge", "-p",
		`{"spec":{"template":{"spec":{"tolerations":[{"key":"team","value":"blue"}]}}}}`)
	waitReady(t, ns, 1, patience)
	if on := onNode(pods(t, ns)); on[first] != 1 {
		t.Errorf("the MiniPod that tolerates the taint runs on %v, want %s", on, first)
	}
}

// A label that the core Node gets lets in what asked for it.
func TestLabelledNode(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, strings.Replace(deployment("web", 1, imageV1), "      containers:\n", "      nodeSelector: {example.com/team: blue}\n      containers:\n", 1))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the MiniPod to wait", func() (bool, string) {
		list := pods(t, ns)
		return len(list) == 1 && unschedulable(list) == 1, fmt.Sprint(len(list))
	})
	first := cluster.nodes(t)[0].name
	t.Cleanup(func() { kubectl(t, ns, "label", "node", first, "example.com/team-") })
	kubectl(t, ns, "label", "node", first, "example.com/team=blue")
	waitReady(t, ns, 1, patience)
	if on := onNode(pods(t, ns)); on[first] != 1 {
		t.Errorf("the MiniPod runs on %v, want %s", on, first)
	}
}

func onNode(list []miniv1.MiniPod) map[string]int {
	out := map[string]int{}
	for i := range list {
		if podstate.IsActive(&list[i]) {
			out[list[i].Status.NodeName]++
		}
	}
	return out
}
