package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// sumOf adds up what Pods request.
func sumOf(list []corev1.Pod) (millis int64) {
	for i := range list {
		for _, c := range list[i].Spec.Containers {
			millis += c.Resources.Requests.Cpu().MilliValue()
		}
	}
	return millis
}

// Pods and MiniPods fill a node together, and neither of the two schedulers gives out more than there is.
func TestNodeFilledByBothLanes(t *testing.T) {
	needs(t, kubelet)
	ns := namespace(t)
	node := cluster.nodes(t)[0].name
	const size, replicas = 100, 40 // thousandths of a CPU each; more than the node has
	greedy := func(name string) string {
		m := deployment(name, replicas, busybox)
		m = strings.Replace(m, "cpu: 0.01", fmt.Sprintf("cpu: %dm", size), 1)
		m = strings.Replace(m, "        ports:\n        - {name: http, containerPort: 8080}\n", "        command: [sleep, \"100000\"]\n", 1)
		return strings.Replace(m, "      containers:\n", "      nodeSelector: {kubernetes.io/hostname: "+node+"}\n      containers:\n", 1)
	}
	apply(t, ns, greedy("mini")+"\n---"+asNative(greedy("native")))
	eventually(t, 2*patience, ns, &appsv1.DeploymentList{}, "the native scheduler to have judged all", func() (bool, string) {
		scheduled, waiting := nativeSplit(t, ns)
		return scheduled > 0 && waiting > 0 && scheduled+waiting == replicas, fmt.Sprint(scheduled, waiting)
	})
	var mini int
	eventually(t, 2*patience, ns, &miniv1.MiniPodList{}, "ours too", func() (bool, string) {
		list := pods(t, ns)
		mini = ready(list)
		bound := onNode(list)[node]
		return mini > 0 && mini == bound && len(list) == replicas && unschedulable(list) == replicas-bound, fmt.Sprint(mini, bound, len(list))
	})

	core, lane := &corev1.Node{}, &miniv1.MiniNode{}
	for _, o := range []client.Object{core, lane} {
		if err := api.Get(t.Context(), client.ObjectKey{Name: node}, o); err != nil {
			t.Fatal(err)
		}
	}
	var all corev1.PodList
	if err := api.List(t.Context(), &all, client.MatchingFields{"spec.nodeName": node}); err != nil {
		t.Fatal(err)
	}
	promised, has := sumOf(all.Items), core.Status.Allocatable.Cpu().MilliValue()
	if promised > has || promised+size <= has {
		t.Errorf("native Pods with the lane: %dm of %dm are promised; want all that %dm leave room for", promised, has, size)
	}
	agent := agentPod(t, node)
	request, budget := agent.Spec.Containers[0].Resources.Requests, lane.Status.Allocatable
	if request.Cpu().Cmp(*budget.Cpu()) != 0 || request.Memory().Cmp(*budget.Memory()) != 0 {
		t.Errorf("the agent requests %v, and the lane gives out %v", request, budget)
	}
	here := laneRequests(t, node)
	if here > budget.Cpu().MilliValue() || here+size <= budget.Cpu().MilliValue() {
		t.Errorf("MiniPods: %dm of %v are promised; want all that %dm leave room for", here, budget.Cpu(), size)
	}
	limit, err := cluster.nodeExec(node, "cat /sys/fs/cgroup/memory/miniplane/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/miniplane/memory.max")
	if strings.TrimSpace(limit) != fmt.Sprint(budget.Memory().Value()) {
		t.Errorf("the lane's cgroup has %s bytes (%v), its budget is %d", strings.TrimSpace(limit), err, budget.Memory().Value())
	}
	if text := kubectl(t, ns, "describe", "node", node); !describes(text, agent.Name, request.Cpu().String(), request.Memory().String()) {
		t.Errorf("kubectl describe node does not show the lane:\n%s", text)
	}
	if text := kubectl(t, ns, "get", "mininode", node); !describes(text, node, budget.Cpu().String(), budget.Memory().String()) {
		t.Errorf("kubectl get mininode does not show the same:\n%s", text)
	}
}

// describes tells whether one line has all the words.
func describes(text string, words ...string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

// nativeSplit counts native Pods that have a node, and those that the scheduler found none for.
func nativeSplit(t *testing.T, ns string) (scheduled, waiting int) {
	t.Helper()
	var list corev1.PodList
	if err := api.List(context.Background(), &list, client.InNamespace(ns)); err != nil {
		t.Logf("listing Pods: %v", err)
	}
	for _, pod := range list.Items {
		if pod.Spec.NodeName != "" {
			scheduled++
		} else if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Reason == corev1.PodReasonUnschedulable }) {
			waiting++
		}
	}
	return scheduled, waiting
}

// laneRequests is what the MiniPods on a node request of its CPU together, in thousandths.
func laneRequests(t *testing.T, node string) (millis int64) {
	t.Helper()
	var list miniv1.MiniPodList
	if err := api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.Status.NodeName == node {
			for _, c := range pod.Spec.Containers {
				millis += c.Resources.Requests.Cpu().MilliValue()
			}
		}
	}
	return millis
}

func unschedulable(list []miniv1.MiniPod) (n int) {
	for _, pod := range list {
		for _, c := range pod.Status.Conditions {
			if c.Reason == miniv1.ReasonUnschedulable {
				n++
			}
		}
	}
	return n
}
