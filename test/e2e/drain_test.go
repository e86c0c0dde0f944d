package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/internal/podstate"
)

// stubborn is a MiniDeployment whose containers do not listen to SIGTERM, and so take their whole grace period to end.
func stubborn(name string, replicas int, grace time.Duration) string {
	return fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniDeployment
metadata:
  name: %[1]s
spec:
  replicas: %[2]d
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      terminationGracePeriodSeconds: %[3]d
      containers:
      - name: main
        image: %[4]s
        command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"]
        resources:
          requests: {cpu: 0.01, memory: 16Mi}
`, name, replicas, int(grace.Seconds()), busybox)
}

// waitMarker waits for the node's drain marker, complete and not being deleted.
func waitMarker(t *testing.T, node string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also in clean-ups
	defer cancel()
	key := client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: eviction.MarkerName(node)}
	watch(ctx, t, &corev1.PodList{}, "drain marker of "+node, func() (bool, string) {
		var marker corev1.Pod
		err := api.Get(ctx, key, &marker)
		return err == nil && eviction.IsComplete(&marker) && marker.DeletionTimestamp == nil, fmt.Sprint(marker.Status, err)
	}, client.InNamespace(miniv1.SystemNamespace))
}

// drain runs kubectl drain. On the only node of a cluster it leaves all Pods alone but the marker: the manager's budget would
// rightly never let it go.
func drain(t *testing.T, ns, node string, several bool) string {
	t.Helper()
	args := []string{"drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s"}
	if !several {
		args = append(args, "--pod-selector="+miniv1.DrainMarkerLabel)
	}
	return kubectl(t, ns, args...)
}

// kubectl drain moves the MiniPods of a node, and waits until they are gone, whatever time they take.
func TestDrain(t *testing.T) {
	const grace = 5 * time.Second
	nodes := cluster.nodes(t)
	several, victim := len(nodes) > 1, nodes[len(nodes)-1].name
	replicas := 3 * len(nodes)
	ns := namespace(t)
	waitMarker(t, victim)
	apply(t, ns, stubborn("web", replicas, grace))
	waitReady(t, ns, replicas, patience)
	before := map[types.UID]string{}
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName == victim {
			before[pod.UID] = pod.Name
		}
	}
	if len(before) == 0 {
		t.Fatalf("node %s got no MiniPods: %v", victim, onNode(pods(t, ns)))
	}

	t.Cleanup(func() { kubectl(t, ns, "uncordon", victim); waitMarker(t, victim) })
	start := time.Now()
	out := drain(t, ns, victim, several)
	took := time.Since(start)
	for _, pod := range pods(t, ns) {
		if name, was := before[pod.UID]; was || pod.Status.NodeName == victim {
			t.Errorf("kubectl drain ended although MiniPod %s is on the node: %s %s\n%s", pod.Name, name, pod.Status.Summary, out)
		}
	}
	if took < grace {
		t.Errorf("%d MiniPods that take %v to end were drained in %v:\n%s", len(before), grace, took, out)
	}
	t.Logf("%d MiniPods drained in %.1f s", len(before), took.Seconds())

	if several {
		waitReady(t, ns, replicas, patience)
		if on := onNode(pods(t, ns)); on[victim] > 0 {
			t.Errorf("after the drain they run on %v", on)
		}
		return
	}
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "all MiniPods to wait for a node", func() (bool, string) {
		list := pods(t, ns)
		for i := range list {
			scheduled := meta.FindStatusCondition(list[i].Status.Conditions, miniv1.ConditionPodScheduled)
			if scheduled == nil || scheduled.Reason != miniv1.ReasonUnschedulable {
				return false, fmt.Sprint(list[i].Name, scheduled)
			}
		}
		return len(list) == replicas, fmt.Sprint(len(list))
	})
	kubectl(t, ns, "uncordon", victim)
	waitReady(t, ns, replicas, patience)
}

// A NoExecute taint sends away what does not tolerate it. Where Pods run too it sends the manager away as well, which therefore
// needs another node.
func TestNoExecuteTaint(t *testing.T) {
	needs(t, severalNodes)
	nodes := cluster.nodes(t)
	victim := nodes[len(nodes)-1].name
	replicas := 2 * len(nodes)
	ns := namespace(t)
	apply(t, ns, deployment("web", replicas, imageV1))
	waitReady(t, ns, replicas, patience)
	if on := onNode(pods(t, ns)); on[victim] == 0 {
		t.Fatalf("node %s got no MiniPods: %v", victim, on)
	}
	kubectl(t, ns, "taint", "node", victim, "team=blue:NoExecute")
	t.Cleanup(func() { kubectl(t, ns, "taint", "node", victim, "team-") })
	took := eventually(t, patience, ns, &miniv1.MiniPodList{}, "all MiniPods to be ready elsewhere", func() (bool, string) {
		list := pods(t, ns)
		elsewhere := 0
		for i := range list {
			if podstate.IsReady(&list[i]) && podstate.IsActive(&list[i]) && list[i].Status.NodeName != victim {
				elsewhere++
			}
		}
		return elsewhere == replicas && len(list) == replicas, fmt.Sprintf("%d of %d: %v", elsewhere, len(list), onNode(list))
	})
	t.Logf("%d MiniPods left the tainted node within %.1f s", replicas, took.Seconds())
}
