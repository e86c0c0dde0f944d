package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// daemonSet is the manifest of a MiniDaemonSet of echo servers; more is of its spec, and of its template's.
func daemonSet(name, image, more, moreOfPods string) string {
	return fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniDaemonSet
metadata:
  name: %[1]s
spec:
  selector:
    matchLabels: {app: %[1]s}
  %[3]s
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      terminationGracePeriodSeconds: 1
      %[4]s
      containers:
      - name: echo
        image: %[2]s
        resources:
          requests: {cpu: 0.01, memory: 16Mi}
`, name, image, more, moreOfPods)
}

func getDaemonSet(t *testing.T, ns, name string) *miniv1.MiniDaemonSet {
	t.Helper()
	set := &miniv1.MiniDaemonSet{}
	if err := api.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// waitDaemons waits until so many nodes should have a MiniPod, and each has one of the current template that is available, and no other.
func waitDaemons(t *testing.T, ns, name string, nodes int) {
	t.Helper()
	eventually(t, 2*patience, ns, &miniv1.MiniDaemonSetList{}, fmt.Sprintf("%s on %d nodes", name, nodes), func() (bool, string) {
		set := getDaemonSet(t, ns, name)
		s, want := set.Status, int32(nodes)
		return s.ObservedGeneration == set.Generation && s.DesiredNumberScheduled == want && s.CurrentNumberScheduled == want && s.NumberReady == want &&
			s.UpdatedNumberScheduled == want && s.NumberAvailable == want && s.NumberMisscheduled == 0 &&
			meta.IsStatusConditionTrue(s.Conditions, miniv1.ConditionReady), fmt.Sprintf("%+v", s)
	})
	waitReady(t, ns, nodes, patience)
	if on := onNode(pods(t, ns)); len(on) != nodes {
		t.Fatalf("%d MiniPods run on %v", nodes, on)
	}
}

// Every node that the template fits has one MiniPod, and follows its labels and taints.
func TestDaemonSet(t *testing.T) {
	const label = "example.com/watched"
	nodes := cluster.nodes(t)
	ns := namespace(t)
	first := nodes[0].name
	t.Cleanup(func() { kubectl(t, ns, "label", "node", "--all", label+"-") })

	apply(t, ns, daemonSet("watch", imageV1, "", "nodeSelector: {"+label+`: "yes"}`))
	eventually(t, patience, ns, &miniv1.MiniDaemonSetList{}, "a set without nodes to be ready", func() (bool, string) {
		s := getDaemonSet(t, ns, "watch").Status
		return s.DesiredNumberScheduled == 0 && meta.IsStatusConditionTrue(s.Conditions, miniv1.ConditionReady), fmt.Sprintf("%+v", s)
	})
	for _, n := range nodes {
		kubectl(t, ns, "label", "node", n.name, label+"=yes")
	}
	waitDaemons(t, ns, "watch", len(nodes))
	table := strings.Fields(kubectl(t, ns, "get", "mds", "watch"))
	n := fmt.Sprint(len(nodes))
	if want := []string{"NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE", "SELECTOR", "AGE", "watch", n, n, n, n, n}; !slices.Equal(table[:len(want)], want) {
		t.Errorf("kubectl get mds shows %v, want %v", table, want)
	}

	kubectl(t, ns, "label", "node", first, label+"=no", "--overwrite")
	waitDaemons(t, ns, "watch", len(nodes)-1)
	if on := onNode(pods(t, ns)); on[first] != 0 {
		t.Errorf("without its label %s has a MiniPod: %v", first, on)
	}
	kubectl(t, ns, "label", "node", first, label+"=yes", "--overwrite")
	waitDaemons(t, ns, "watch", len(nodes))

	// NoSchedule keeps what is there, and lets no other come after it.
	kubectl(t, ns, "taint", "node", first, "example.com/team=blue:NoSchedule")
	t.Cleanup(func() { kubectl(t, ns, "taint", "node", first, "example.com/team-") })
	eventually(t, patience, ns, &miniv1.MiniDaemonSetList{}, "the MiniPod to count as one that should not be there", func() (bool, string) {
		s := getDaemonSet(t, ns, "watch").Status
		return s.NumberMisscheduled == 1, fmt.Sprintf("%+v", s)
	})
	waitReady(t, ns, len(nodes), patience)
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName == first {
			kubectl(t, ns, "delete", "mpo", pod.Name)
		}
	}
	waitDaemons(t, ns, "watch", len(nodes)-1)
	kubectl(t, ns, "patch", "mds", "watch", "--type=merge", "-p", `{"spec":{"template":{"spec":{"tolerations":[{"key":"example.com/team","operator":"Exists"}]}}}}`)
	waitDaemons(t, ns, "watch", len(nodes))
	kubectl(t, ns, "delete", "mds", "watch")
	waitReady(t, ns, 0, patience)
}

// NoExecute sends away what does not tolerate it, and another comes when the taint is gone.
func TestDaemonSetNoExecute(t *testing.T) {
	needs(t, severalNodes)
	nodes := cluster.nodes(t)
	victim := nodes[len(nodes)-1].name
	ns := namespace(t)
	apply(t, ns, daemonSet("watch", imageV1, "", ""))
	waitDaemons(t, ns, "watch", len(nodes))
	t.Cleanup(func() {
		_, _ = tryKubectl(t, ns, "", "taint", "node", victim, "example.com/team-") // it may be gone
		waitMarker(t, victim)
	})
	kubectl(t, ns, "taint", "node", victim, "example.com/team=blue:NoExecute")
	waitDaemons(t, ns, "watch", len(nodes)-1)
	if on := onNode(pods(t, ns)); on[victim] != 0 {
		t.Errorf("under the taint they run on %v", on)
	}
	kubectl(t, ns, "taint", "node", victim, "example.com/team=blue:NoExecute-")
	waitDaemons(t, ns, "watch", len(nodes))
}

// An update takes one at a time away, or adds one at a time, and an earlier template comes back by the words of docs/minidaemonset.md.
func TestDaemonSetUpdate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		strategy          string
		missing, tooMany  int
		changed, reverted string
	}{
		"in place": {"updateStrategy: {rollingUpdate: {maxUnavailable: 1}}", 1, 0, imageV2, imageV1},
		"beside":   {"updateStrategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}", 0, 1, imageV2, imageV1},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := len(cluster.nodes(t))
			ns := namespace(t)
			apply(t, ns, daemonSet("watch", imageV1, tc.strategy, ""))
			waitDaemons(t, ns, "watch", nodes)

			stop := observe(t.Context(), t, ns)
			kubectl(t, ns, "patch", "mds", "watch", "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"`+tc.changed+`"}]`)
			waitDaemons(t, ns, "watch", nodes)
			if got := images(t, ns); got[tc.changed] != nodes {
				t.Errorf("runs %v", got)
			}
			revisions := strings.Fields(kubectl(t, ns, "get", "controllerrevisions", "-l", "app=watch", "--sort-by=.revision", "-o", "name"))
			if len(revisions) != 2 {
				t.Fatalf("revisions %v, want two", revisions)
			}
			old := kubectl(t, ns, "get", revisions[0], "-o", "jsonpath={.data.spec.template}")
			kubectl(t, ns, "patch", "mds", "watch", "--type=json", "-p", `[{"op":"replace","path":"/spec/template","value":`+old+`}]`)
			waitDaemons(t, ns, "watch", nodes)
			seen := stop()
			if got := images(t, ns); got[tc.reverted] != nodes {
				t.Errorf("after the way back it runs %v", got)
			}
			if seen.minReady < nodes-tc.missing || seen.maxActive > nodes+tc.tooMany {
				t.Errorf("between %d ready and %d in all, on %d nodes", seen.minReady, seen.maxActive, nodes)
			}
			var list appsv1.ControllerRevisionList
			if err := api.List(t.Context(), &list, client.InNamespace(ns)); err != nil || len(list.Items) != 2 {
				t.Errorf("%d revisions after the way back, %v", len(list.Items), err)
			}
		})
	}
}

// What waits for room on its node waits there, and starts when there is room: a MiniQuota is room, too.
func TestDaemonSetWaits(t *testing.T) {
	t.Parallel()
	nodes := len(cluster.nodes(t))
	ns := namespace(t)
	apply(t, ns, "apiVersion: miniplane.dev/v1alpha1\nkind: MiniQuota\nmetadata: {name: small}\nspec: {hard: {memory: 8Mi}}\n")
	apply(t, ns, daemonSet("watch", imageV1, "", ""))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "all MiniPods to wait", func() (bool, string) {
		list := pods(t, ns)
		return len(list) == nodes && len(onNode(list)) == 1 && onNode(list)[""] == nodes, fmt.Sprint(onNode(list))
	})
	eventually(t, patience, ns, &miniv1.MiniDaemonSetList{}, "the status to say so", func() (bool, string) {
		s := getDaemonSet(t, ns, "watch").Status
		return s.CurrentNumberScheduled == int32(nodes) && s.NumberUnavailable == int32(nodes), fmt.Sprintf("%+v", s)
	})
	kubectl(t, ns, "patch", "mquota", "small", "--type=merge", "-p", `{"spec":{"hard":{"memory":"1Gi"}}}`)
	waitDaemons(t, ns, "watch", nodes)
}

// kubectl drain --ignore-daemonsets leaves MiniPods of a MiniDaemonSet where they are, and does not wait for them.
func TestDaemonSetDrain(t *testing.T) {
	nodes := cluster.nodes(t)
	victim := nodes[len(nodes)-1].name
	ns := namespace(t)
	waitMarker(t, victim)
	apply(t, ns, daemonSet("watch", imageV1, "", ""))
	waitDaemons(t, ns, "watch", len(nodes))
	var before types.UID
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName == victim {
			before = pod.UID
		}
	}
	t.Cleanup(func() { kubectl(t, ns, "uncordon", victim); waitMarker(t, victim) })
	drain(t, ns, victim, len(nodes) > 1)
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName == victim && (pod.UID != before || !podstate.IsActive(&pod)) {
			t.Errorf("the drain ended %s", pod.Name)
		}
	}
	// And a cordon keeps none away.
	for _, pod := range pods(t, ns) {
		if pod.UID == before {
			kubectl(t, ns, "delete", "mpo", pod.Name)
		}
	}
	waitDaemons(t, ns, "watch", len(nodes))
}

// On a node that is lost its MiniPod stays, while others leave; when the node comes back it runs there again.
func TestDaemonSetOnLostNode(t *testing.T) {
	needs(t, severalNodes)
	long(t)
	nodes := cluster.nodes(t)
	lost := nodes[len(nodes)-1].name
	ns, others := namespace(t), namespace(t)
	apply(t, ns, daemonSet("watch", imageV1, "", ""))
	waitDaemons(t, ns, "watch", len(nodes))
	apply(t, others, deployment("web", 2*len(nodes), imageV1))
	waitReady(t, others, 2*len(nodes), patience)
	var before types.UID
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName == lost {
			before = pod.UID
		}
	}
	cluster.fault(t, "node-stop", lost)
	t.Cleanup(func() { cluster.fault(t, "node-start", lost); waitNode(t, lost, true, patience) })
	eventually(t, evictionLimit, others, &miniv1.MiniPodList{}, "others to be moved", func() (bool, string) {
		list := pods(t, others)
		for i := range list {
			if list[i].Status.NodeName == lost && podstate.IsActive(&list[i]) {
				return false, fmt.Sprint(onNode(list))
			}
		}
		return true, ""
	})
	list := pods(t, ns)
	for i := range list {
		if list[i].Status.NodeName == lost && (list[i].UID != before || !podstate.IsActive(&list[i])) {
			t.Errorf("%s is taken from the lost node", list[i].Name)
		}
	}
	if s := getDaemonSet(t, ns, "watch").Status; len(list) != len(nodes) || s.NumberUnavailable != 1 {
		t.Errorf("%d MiniPods, %+v", len(list), s)
	}
	cluster.fault(t, "node-start", lost)
	waitNode(t, lost, true, patience)
	waitDaemons(t, ns, "watch", len(nodes))
}
