package e2e

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// placed is the manifest of a MiniDeployment whose template says where its MiniPods may run.
func placed(name string, replicas int, placement string) string {
	return strings.Replace(deployment(name, replicas, imageV1), "      containers:\n", strings.TrimPrefix(placement, "\n")+"      containers:\n", 1)
}

// A node can be required by its name or its labels, and where there is none such, MiniPods wait and say why.
func TestNodeAffinity(t *testing.T) {
	nodes := cluster.nodes(t)
	last := nodes[len(nodes)-1].name
	ns := namespace(t)
	apply(t, ns, placed("there", 3, `
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - {key: e2e.miniplane.dev/nowhere, operator: Exists}
            - matchExpressions:
              - {key: kubernetes.io/hostname, operator: In, values: [`+last+`, another]}
              - {key: e2e.miniplane.dev/nowhere, operator: DoesNotExist}
              matchFields:
              - {key: metadata.name, operator: In, values: [`+last+`]}
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 50
            preference:
              matchExpressions:
              - {key: kubernetes.io/os, operator: NotIn, values: [linux]}
`))
	waitReady(t, ns, 3, patience)
	if on := onNode(pods(t, ns)); on[last] != 3 {
		t.Errorf("by node: %v, want all on %s", on, last)
	}
	apply(t, ns, placed("nowhere", 1, `
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - {key: e2e.miniplane.dev/nowhere, operator: Exists}
`))
	waitUnschedulable(t, ns, "nowhere", 1, "not what nodeAffinity requires")
}

// waitUnschedulable waits until so many MiniPods of an application wait for a node, and say so with these words.
func waitUnschedulable(t *testing.T, ns, app string, n int, words string) {
	t.Helper()
	eventually(t, patience, ns, &miniv1.MiniPodList{}, fmt.Sprintf("%d waiting, since nodes are %s", n, words), func() (bool, string) {
		waiting, why := 0, ""
		for _, pod := range pods(t, ns, map[string]string{"app": app}) {
			if c := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionPodScheduled); c != nil && c.Reason == miniv1.ReasonUnschedulable {
				if why = c.Message; strings.Contains(why, words) {
					waiting++
				}
			}
		}
		return waiting == n, fmt.Sprintf("%d waiting: %s", waiting, why)
	})
}

// Replicas that keep off each other are one on each node; one more waits, and takes the place of the first that goes.
func TestAntiAffinity(t *testing.T) {
	nodes := cluster.nodes(t)
	ns := namespace(t)
	apply(t, ns, placed("lone", len(nodes)+1, `
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector:
              matchExpressions:
              - {key: app, operator: In, values: [lone]}
            matchLabelKeys: [pod-template-hash]
`))
	oneEach := func() {
		t.Helper()
		eventually(t, patience, ns, &miniv1.MiniPodList{}, "one on each node", func() (bool, string) {
			list := pods(t, ns)
			on := onNode(list)
			delete(on, "")
			for _, n := range on {
				if n != 1 {
					return false, fmt.Sprint(on)
				}
			}
			return len(on) == len(nodes) && ready(list) == len(nodes), fmt.Sprintf("%v, %d ready", on, ready(list))
		})
	}
	oneEach()
	waitUnschedulable(t, ns, "lone", 1, "podAntiAffinity excludes")
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName != "" {
			kubectl(t, ns, "delete", "mpo", pod.Name)
			break
		}
	}
	oneEach()
	waitUnschedulable(t, ns, "lone", 1, "podAntiAffinity excludes")
}

// Who asks for company goes where it is, and who is excluded by it goes elsewhere, or nowhere.
func TestPodAffinity(t *testing.T) {
	nodes := cluster.nodes(t)
	ns := namespace(t)
	near := func(kind, app string) string {
		return `      affinity:
        ` + kind + `:
          requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector: {matchLabels: {app: ` + app + `}}
`
	}
	apply(t, ns, placed("near", 2, near("podAffinity", "db")))
	waitUnschedulable(t, ns, "near", 2, "podAffinity requires")
	apply(t, ns, placed("db", 1, near("podAntiAffinity", "far")))
	waitReady(t, ns, 3, patience)
	if on := onNode(pods(t, ns)); len(on) != 1 {
		t.Errorf("not together: %v", on)
	}
	apply(t, ns, placed("far", 1, ""))
	if len(nodes) == 1 {
		waitUnschedulable(t, ns, "far", 1, "whose podAntiAffinity excludes this one")
		return
	}
	waitReady(t, ns, 4, patience)
	if on := onNode(pods(t, ns)); len(on) != 2 {
		t.Errorf("the one that is excluded is with the others: %v", on)
	}
}

// Replicas with a spread are as many on each node.
func TestTopologySpread(t *testing.T) {
	nodes := cluster.nodes(t)
	ns := namespace(t)
	apply(t, ns, placed("even", 2*len(nodes), `
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        nodeTaintsPolicy: Honor
        labelSelector: {matchLabels: {app: even}}
      - maxSkew: 1
        topologyKey: kubernetes.io/os
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchLabels: {app: even}}
`))
	waitReady(t, ns, 2*len(nodes), patience)
	on := onNode(pods(t, ns))
	for _, node := range nodes {
		if on[node.name] != 2 {
			t.Errorf("by node: %v, want 2 on each", on)
		}
	}
}
