package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// calmLabel marks the nodes on which what nobody may touch runs. One node of several does not have it: that one may die.
const calmLabel = "faults.miniplane.dev/calm"

// quotaPods is how many MiniPods the quota has room for, which is as many as there are.
const quotaPods = 6

func (w *world) victim() string { return w.nodes[len(w.nodes)-1] }

// markCalm gives the label to all nodes but the victim, and to that too where it is alone.
func (w *world) markCalm(ctx context.Context) error {
	for i, name := range w.nodes {
		if i > 0 && name == w.victim() {
			continue
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := w.patch(ctx, node, fmt.Sprintf(`{"metadata":{"labels":{%q:""}}}`, calmLabel)); err != nil {
			return err
		}
	}
	return nil
}

// powerCut switches a node off whose MiniPods fill the quota of their namespace, and waits until all of them are replaced on other nodes:
// neither the node nor the quota may hold them for ever.
func powerCut(ctx context.Context, w *world) (undo, error) {
	quota := &miniv1.MiniQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.wild, Name: "full"},
		Spec: miniv1.MiniQuotaSpec{Hard: corev1.ResourceList{
			"requests.cpu": resource.MustParse(fmt.Sprintf("%dm", quotaPods)), "count/minipods": *resource.NewQuantity(quotaPods, resource.DecimalSI)}}}
	set := deployment(w.wild, "replaced", quotaPods, imageQuiet, "sleep", "31536000")
	back := func(ctx context.Context) error {
		_, err := w.command(ctx, "node-start", w.victim())
		return errors.Join(err, w.remove(ctx, set), w.api.Delete(ctx, quota))
	}
	if err := errors.Join(w.takesMiniPods(ctx, w.victim()), w.api.Create(ctx, quota), w.api.Create(ctx, set)); err != nil {
		return back, err
	}
	if err := w.waitPods(ctx, w.wild, quotaPods); err != nil {
		return back, err
	}
	if on, err := w.runningOn(ctx, w.victim()); err != nil || on == 0 {
		return back, errors.Join(err, w.explain(ctx))
	}
	if _, err := w.command(ctx, "node-stop", w.victim()); err != nil {
		return back, err
	}
	return back, eventually(ctx, patience, "replacements on the other nodes", func() error {
		n := 0
		for _, node := range w.nodes {
			on, err := w.runningOn(ctx, node)
			if err != nil {
				return err
			}
			if node != w.victim() {
				n += on
			}
		}
		if n != quotaPods {
			return fmt.Errorf("%d of %d", n, quotaPods)
		}
		return nil
	})
}

// takesMiniPods waits until a node does, which it may not yet when it was off a moment ago.
func (w *world) takesMiniPods(ctx context.Context, node string) error {
	return eventually(ctx, patience, "room on "+node, func() error {
		var mini miniv1.MiniNode
		if err := w.api.Get(ctx, client.ObjectKey{Name: node}, &mini); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionReady) {
			return errors.New("it is not ready")
		}
		return nil
	})
}

// explain says of the node that none of the MiniPods went to what may have kept them away.
func (w *world) explain(ctx context.Context) error {
	var mini miniv1.MiniNode
	var node corev1.Node
	key := client.ObjectKey{Name: w.victim()}
	if err := errors.Join(w.api.Get(ctx, key, &mini), w.api.Get(ctx, key, &node)); err != nil {
		return err
	}
	return fmt.Errorf("no MiniPod runs on %s, which has taints %v, allocatable %v, conditions %v", key.Name, node.Spec.Taints, mini.Status.Allocatable, mini.Status.Conditions)
}

// runningOn counts the ready MiniPods of the wild namespace on a node.
func (w *world) runningOn(ctx context.Context, node string) (n int, err error) {
	pods, err := w.minipods(ctx, w.wild)
	for i := range pods {
		if pods[i].Status.NodeName == node && podstate.IsActive(&pods[i]) && podstate.IsReady(&pods[i]) {
			n++
		}
	}
	return n, client.IgnoreNotFound(err)
}
