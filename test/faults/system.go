package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// systemPods are the Pods of one of miniplane's programs in a full cluster: agent or manager.
func (w *world) systemPods(ctx context.Context, component string) ([]corev1.Pod, error) {
	var list corev1.PodList
	labels := client.MatchingLabels{"app.kubernetes.io/name": "miniplane", "app.kubernetes.io/component": component}
	err := w.api.List(ctx, &list, client.InNamespace(miniv1.SystemNamespace), labels)
	return list.Items, err
}

func runs(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

// killPod kills the process of a Pod's container as a crash would, and deletes the Pod, so that another takes its place at once: a
// kubelet would start a container that dies often later each time, and its patience is not what is tested.
func (w *world) killPod(ctx context.Context, pod *corev1.Pod) error {
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if _, err := w.command(ctx, "exec", pod.Spec.NodeName, "ctr --namespace k8s.io tasks kill --signal SIGKILL "+id); err != nil {
		return fmt.Errorf("killing %s: %w", pod.Name, err)
	}
	return client.IgnoreNotFound(w.api.Delete(ctx, pod, client.GracePeriodSeconds(0)))
}

// killAgent kills the agent of the first node (SIGKILL), and waits until the next one is there.
func killAgent(ctx context.Context, w *world) (undo, error) {
	if w.substrate != full {
		_, err := w.command(ctx, "agent-restart", w.nodes[0])
		return nil, err
	}
	pods, err := w.systemPods(ctx, "agent")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == w.nodes[0] && runs(&p) })
	if i < 0 {
		return nil, fmt.Errorf("%s has no agent that runs", w.nodes[0])
	}
	old := pods[i]
	if err := w.killPod(ctx, &old); err != nil {
		return nil, err
	}
	return nil, eventually(ctx, patience, "the next agent", func() error {
		pods, err := w.systemPods(ctx, "agent")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.UID != old.UID && p.Spec.NodeName == w.nodes[0] && runs(&p) }) {
			return nil
		}
		return errors.New("none runs")
	})
}

// leader is the Pod of the manager that works; the Lease has its name, an underscore, and something random.
func (w *world) leader(ctx context.Context) (corev1.Pod, error) {
	var lease coordinationv1.Lease
	key := client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: miniv1.ManagerLease}
	if err := w.api.Get(ctx, key, &lease); err != nil {
		return corev1.Pod{}, err
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
	}
	pods, err := w.systemPods(ctx, "manager")
	for _, pod := range pods {
		if pod.Name == holder && runs(&pod) {
			return pod, nil
		}
	}
	if err != nil {
		return corev1.Pod{}, err
	}
	return corev1.Pod{}, fmt.Errorf("no Pod of a manager is called %q, which leads, and runs", holder)
}
