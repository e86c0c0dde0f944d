package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// upgrade makes a fault of a change of the agents' DaemonSet after which no agent comes up. It is rolled back in the end, as an operator
// would.
func upgrade(what string, container func(*corev1.Container)) func(context.Context, *world) (undo, error) {
	return func(ctx context.Context, w *world) (undo, error) {
		set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: "miniplane-agent"}}
		if err := w.api.Get(ctx, client.ObjectKeyFromObject(set), set); err != nil {
			return nil, err
		}
		before := set.DeepCopy()
		back := func(ctx context.Context) error {
			now := &appsv1.DaemonSet{}
			if err := w.api.Get(ctx, client.ObjectKeyFromObject(set), now); err != nil {
				return err
			}
			old := now.DeepCopy()
			now.Spec.Template = before.Spec.Template
			if err := w.api.Patch(ctx, now, client.MergeFrom(old)); err != nil {
				return err
			}
			return w.waitAgents(ctx)
		}
		container(&set.Spec.Template.Spec.Containers[0])
		if err := w.api.Patch(ctx, set, client.MergeFrom(before)); err != nil {
			return back, err
		}
		return back, w.waitNoAgent(ctx, what)
	}
}

// waitAgents waits until each node has an agent that runs, of the template that the DaemonSet has.
func (w *world) waitAgents(ctx context.Context) error {
	return eventually(ctx, patience, "agents", func() error {
		set := &appsv1.DaemonSet{}
		if err := w.api.Get(ctx, client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: "miniplane-agent"}, set); err != nil {
			return err
		}
		if s := set.Status; s.ObservedGeneration != set.Generation || s.UpdatedNumberScheduled != s.DesiredNumberScheduled || s.NumberReady != s.DesiredNumberScheduled {
			return fmt.Errorf("%d updated and %d ready of %d", s.UpdatedNumberScheduled, s.NumberReady, s.DesiredNumberScheduled)
		}
		return nil
	})
}

// waitNoAgent waits until the agent is away because of the change, so that the fault has really begun.
func (w *world) waitNoAgent(ctx context.Context, what string) error {
	return eventually(ctx, patience, "no agent, because of "+what, func() error {
		pods, err := w.systemPods(ctx, "agent")
		if err == nil && slices.ContainsFunc(pods, func(p corev1.Pod) bool { return runs(&p) }) {
			err = errors.New("one runs")
		}
		return err
	})
}

// witness is a second node, of which the API server hears an agent and a kubelet, so that the cluster does not look like one that nobody
// hears. Nothing is scheduled there. It is an object only: without kubernetes.io/os, so that DaemonSets leave it alone.
const witness = "faults-witness"

// otherNode makes the witness, and keeps it alive.
func otherNode(ctx context.Context, w *world) (undo, error) {
	beating, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	objects := witnessObjects()
	end := func(ctx context.Context) error {
		stop()
		<-done
		var errs []error
		for _, object := range slices.Backward(objects) {
			errs = append(errs, client.IgnoreNotFound(w.api.Delete(ctx, object)))
		}
		return errors.Join(errs...)
	}
	var failed error
	for _, object := range objects {
		if err := w.api.Create(ctx, object); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	go func() {
		defer close(done)
		for rest(beating, 4*time.Second, false) == nil {
			for _, object := range objects {
				if lease, ok := object.(*coordinationv1.Lease); ok {
					_ = w.patch(beating, lease, fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro)))
				}
			}
		}
	}()
	if failed == nil {
		failed = w.introduce(ctx)
	}
	if failed != nil {
		return nil, errors.Join(failed, takeBack(ctx, end))
	}
	return end, nil
}

func witnessObjects() []client.Object {
	now, name := metav1.Now(), witness
	lease := func(namespace string) *coordinationv1.Lease {
		at, seconds := metav1.NowMicro(), int32(40)
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &name, RenewTime: &at, LeaseDurationSeconds: &seconds}}
	}
	return []client.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Unschedulable: true},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Witness",
				LastHeartbeatTime: now, LastTransitionTime: now}}}},
		lease(corev1.NamespaceNodeLease), lease(miniv1.SystemNamespace),
		&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}},
	}
}

// introduce has the witness's MiniNode say that its agent is ready, as an agent would once it has a range of addresses.
func (w *world) introduce(ctx context.Context) error {
	node := &miniv1.MiniNode{}
	err := eventually(ctx, patience, "a range of addresses for the witness", func() error {
		err := w.api.Get(ctx, client.ObjectKey{Name: witness}, node)
		if err == nil && node.Status.PodCIDR == "" {
			err = errors.New("none yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	before := node.DeepCopy()
	node.Status.Conditions = []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady,
		Message: "a witness", LastTransitionTime: metav1.Now()}}
	return w.api.Status().Patch(ctx, node, client.MergeFrom(before))
}
