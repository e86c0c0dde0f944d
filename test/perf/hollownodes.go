package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/perf/report"
)

// hollowLabels mark nodes that exist in the API only. They have no kubernetes.io/os, so that DaemonSets leave them alone.
var hollowLabels = map[string]string{"perf.miniplane.dev/hollow": "true"}

// The heartbeats of a kubelet and of an agent are as often as theirs.
const (
	kubeletBeat = 10 * time.Second
	agentBeat   = 4 * time.Second
)

// hollowNodes makes nodes of both lanes and keeps them alive until undo. Both sides are measured with all of them there, so
// that both bear the same heartbeats.
func hollowNodes(ctx context.Context, b *bench) (undo func(), err error) {
	names := podNames(b.hollowNodes, "hollow")
	beating, stop := context.WithCancel(ctx)
	var beats sync.WaitGroup
	undo = func() {
		stop()
		beats.Wait()
		b.removeHollow(names)
	}
	if err := inParallel(names, 16, func(name string) error { return b.makeHollow(ctx, name) }); err != nil {
		return undo, fmt.Errorf("hollow nodes: %w", err)
	}
	beats.Go(func() { b.beat(beating, names, corev1.NamespaceNodeLease, kubeletBeat) })
	if b.has(report.Mini) {
		beats.Go(func() { b.beat(beating, names, miniv1.SystemNamespace, agentBeat) })
	}
	return undo, b.eventually(ctx, 3*time.Minute, "hollow nodes that are ready", func() (bool, error) { return b.hollowReady(ctx, len(names)) })
}

// hollowSize is more than all measured Pods need.
func hollowSize() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("110"),
	}
}

func (b *bench) makeHollow(ctx context.Context, name string) error {
	now := metav1.Now()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: hollowLabels},
		Status: corev1.NodeStatus{Capacity: hollowSize(), Allocatable: hollowSize(),
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Hollow",
				LastHeartbeatTime: now, LastTransitionTime: now}}},
	}
	if err := b.api.Create(ctx, node); err != nil {
		return err
	}
	namespaces := []string{corev1.NamespaceNodeLease}
	if b.has(report.Mini) {
		namespaces = append(namespaces, miniv1.SystemNamespace)
	}
	for _, namespace := range namespaces {
		if err := b.api.Create(ctx, hollowLease(namespace, name)); err != nil {
			return err
		}
	}
	if !b.has(report.Mini) {
		return nil
	}
	return b.makeHollowMini(ctx, name)
}

func hollowLease(namespace, name string) *coordinationv1.Lease {
	now, seconds := metav1.NowMicro(), int32(40)
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &name, RenewTime: &now, LeaseDurationSeconds: &seconds}}
}

// makeHollowMini makes a MiniNode and says, once the manager gave it a range, what an agent says. It has no address, so that
// real agents need no way to it.
func (b *bench) makeHollowMini(ctx context.Context, name string) error {
	node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := b.api.Create(ctx, node); err != nil {
		return err
	}
	err := b.eventually(ctx, time.Minute, "a range of addresses for a hollow node", func() (bool, error) {
		err := b.api.Get(ctx, client.ObjectKey{Name: name}, node)
		return node.Status.PodCIDR != "", err
	})
	if err != nil {
		return err
	}
	before := node.DeepCopy()
	node.Status.Capacity, node.Status.Allocatable = hollowSize(), hollowSize()
	node.Status.Conditions = []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady,
		Message: "hollow", LastTransitionTime: metav1.Now()}}
	return b.api.Status().Patch(ctx, node, client.MergeFrom(before))
}

// beat renews Leases until ctx ends, spread over the time between two renewals as those of many machines are.
func (b *bench) beat(ctx context.Context, names []string, namespace string, every time.Duration) {
	ticks := time.NewTicker(every / time.Duration(len(names)))
	defer ticks.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: names[i%len(names)]}}
		patch := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		if err := b.api.Patch(ctx, lease, client.RawPatch(types.MergePatchType, patch)); err != nil && ctx.Err() == nil {
			say("heartbeat of %s: %v", lease.Name, err)
		}
	}
}

// hollowReady tells whether Kubernetes has taken the taint of new nodes off all of them, and they are ready.
func (b *bench) hollowReady(ctx context.Context, want int) (bool, error) {
	var nodes corev1.NodeList
	if err := b.api.List(ctx, &nodes, client.MatchingLabels(hollowLabels)); err != nil {
		return false, err
	}
	ready := 0
	for _, node := range nodes.Items {
		if len(node.Spec.Taints) == 0 {
			ready++
		}
	}
	return ready == want, nil
}

func (b *bench) removeHollow(names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := inParallel(names, 16, func(name string) error {
		for _, object := range []client.Object{
			&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
			hollowLease(corev1.NamespaceNodeLease, name), hollowLease(miniv1.SystemNamespace, name),
		} {
			if err := b.api.Delete(ctx, object); client.IgnoreNotFound(err) != nil && !noKind(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		say("removing hollow nodes: %v", err)
	}
}
