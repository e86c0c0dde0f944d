package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What clusters have in common on which miniplane was installed as on any other: its parts are Pods, which others than this
// suite start again.

// systemNamespace is where config/default puts the manager and the agents.
const systemNamespace = "miniplane-system"

// systemPods lists the Pods of one of miniplane's components.
func systemPods(t *testing.T, component string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	labels := client.MatchingLabels{"app.kubernetes.io/name": "miniplane", "app.kubernetes.io/component": component}
	if err := api.List(context.Background(), &list, client.InNamespace(systemNamespace), labels); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// agentPod is the Pod of a node's agent.
func agentPod(t *testing.T, node string) corev1.Pod {
	t.Helper()
	for _, pod := range systemPods(t, "agent") {
		if pod.Spec.NodeName == node && pod.DeletionTimestamp == nil {
			return pod
		}
	}
	t.Fatalf("%s has no agent", node)
	return corev1.Pod{}
}

// leader is the Pod of the manager that works; the Lease has its name, an underscore, and something random.
func leader(t *testing.T) corev1.Pod {
	t.Helper()
	var lease coordinationv1.Lease
	if err := api.Get(context.Background(), client.ObjectKey{Namespace: systemNamespace, Name: "miniplane-manager"}, &lease); err != nil {
		t.Fatal(err)
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
	}
	for _, pod := range systemPods(t, "manager") {
		if pod.Name == holder {
			return pod
		}
	}
	t.Fatalf("no Pod of a manager is called %q, which leads", holder)
	return corev1.Pod{}
}

// killScript kills the process of a Pod's container, on its node.
func killScript(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	if !containerRunning(pod) {
		t.Fatalf("%s is not running: %+v", pod.Name, pod.Status.ContainerStatuses)
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	return "ctr --namespace k8s.io tasks kill --signal SIGKILL " + id
}

func containerRunning(pod *corev1.Pod) bool {
	return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

// restartAgent kills an agent, and replaces its Pod: a kubelet starts a container that dies often ever later, and the faults
// of one test are meant to follow each other.
func restartAgent(t *testing.T, node string, kill func(*testing.T, *corev1.Pod)) {
	t.Helper()
	old := agentPod(t, node)
	kill(t, &old)
	if err := api.Delete(context.Background(), &old, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	eventually(t, patience, systemNamespace, &corev1.PodList{}, "the next agent of "+node, func() (bool, string) {
		for _, pod := range systemPods(t, "agent") {
			if pod.Spec.NodeName == node && pod.UID != old.UID {
				return containerRunning(&pod), fmt.Sprint(pod.Status.Phase)
			}
		}
		return false, "none"
	})
}

// restartPod deletes a DaemonSet's Pod on a node, and waits for the next one.
func restartPod(t *testing.T, namespace, selector, node string) {
	t.Helper()
	find := func() string {
		return kubectl(t, namespace, "get", "pods", "--selector="+selector, "--field-selector=spec.nodeName="+node,
			"--output=jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.name}{end}")
	}
	old := find()
	kubectl(t, namespace, "delete", "pod", old)
	eventually(t, patience, namespace, &corev1.PodList{}, "another "+old, func() (bool, string) {
		now := find()
		return now != "" && now != old, now
	})
}

// leadFromElsewhere has a manager on another node lead. That a manager is lost with a node, and how long the next one waits
// then before it leads, is Kubernetes' affair and no part of how long it takes to replace MiniPods.
func leadFromElsewhere(t *testing.T, node string) {
	t.Helper()
	leading := leader(t)
	if leading.Spec.NodeName != node {
		return
	}
	if !slices.ContainsFunc(systemPods(t, "manager"), func(p corev1.Pod) bool { return p.Spec.NodeName != node && containerRunning(&p) }) {
		t.Fatalf("no manager runs on another node than %s", node)
	}
	kubectl(t, systemNamespace, "delete", "pod", leading.Name) // it gives its Lease back
	eventually(t, patience, systemNamespace, &coordinationv1.LeaseList{}, "another manager to lead", func() (bool, string) {
		var lease coordinationv1.Lease
		err := api.Get(context.Background(), client.ObjectKey{Namespace: systemNamespace, Name: "miniplane-manager"}, &lease)
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false, fmt.Sprint(err)
		}
		holder := *lease.Spec.HolderIdentity
		return holder != "" && !strings.HasPrefix(holder, leading.Name+"_"), holder
	})
	leading = leader(t)
	if leading.Spec.NodeName == node {
		t.Fatalf("%s leads, which is on %s too", leading.Name, node)
	}
}
