package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hollow binds many Pods to nodes that exist in the API only: first such that are created by hand (P10), then such that a
// replica set makes when it is scaled up from nothing (P11). Nothing starts; what is measured is the scheduler, the
// controller, and the API server between them.
func hollow(ctx context.Context, b *bench, s side, round int) (samples, error) {
	found := samples{}
	if err := bindRate(ctx, b, s, round, found); err != nil {
		return nil, err
	}
	if err := settle(ctx); err != nil {
		return nil, err
	}
	return found, scaleUp(ctx, b, s, round, found)
}

func bindRate(ctx context.Context, b *bench, s side, round int, found samples) error {
	t, err := b.track(ctx, s)
	if err != nil {
		return err
	}
	defer t.stop()
	names := podNames(b.hollowPods, "hollow-%d", round)
	begin := time.Now()
	_, err = b.create(ctx, names, 32, func(name string) client.Object { return s.pod(b.hollowPod(name)) })
	if err == nil {
		err = t.until(ctx, 5*time.Minute, "binding", func() bool { return t.counts.bound == len(names) })
	}
	if err != nil {
		return err
	}
	last := t.latest(names, func(p seen) time.Time { return p.bound })
	found["hollow.rate"] = []float64{float64(len(names)) / last.Sub(begin).Seconds()}
	return b.clearHollow(ctx, s, t)
}

func scaleUp(ctx context.Context, b *bench, s side, round int, found samples) error {
	t, err := b.track(ctx, s)
	if err != nil {
		return err
	}
	defer t.stop()
	set := s.replicaSet(b.hollowPod(fmt.Sprintf("set-%d", round)), 0)
	if err := b.api.Create(ctx, set); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	begin := time.Now()
	scale := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, b.hollowPods))
	if err := b.api.Patch(ctx, set, scale); err != nil {
		return err
	}
	if err := t.until(ctx, 10*time.Minute, "scaling", func() bool { return t.counts.bound >= b.hollowPods }); err != nil {
		return err
	}
	var there, bound time.Time
	t.mu.Lock()
	for _, pod := range t.pods {
		there, bound = later(there, pod.there), later(bound, pod.bound)
	}
	t.mu.Unlock()
	found["hollow.scale"] = []float64{there.Sub(begin).Seconds()}
	found["hollow.scale.bound"] = []float64{bound.Sub(begin).Seconds()}
	if err := b.api.Delete(ctx, set, client.PropagationPolicy("Background")); err != nil {
		return err
	}
	return b.clearHollow(ctx, s, t)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (b *bench) hollowPod(name string) podOptions {
	return podOptions{namespace: b.namespace, name: name, image: b.image, command: []string{"sleep", marker}, grace: 0,
		nodeSelector: hollowLabels, labels: map[string]string{"perf": name}}
}

// clearHollow deletes Pods that no agent will ever let go of.
func (b *bench) clearHollow(ctx context.Context, s side, t *tracker) error {
	if err := b.api.DeleteAllOf(ctx, s.pod(podOptions{}), client.InNamespace(b.namespace), client.GracePeriodSeconds(0)); err != nil {
		return err
	}
	if err := b.letGo(ctx, s); err != nil {
		return err
	}
	return t.until(ctx, 2*time.Minute, "deletion", func() bool { return t.counts.gone == t.counts.there })
}

// letGo takes the finalizers off all Pods that are being deleted, until there are none.
func (b *bench) letGo(ctx context.Context, s side) error {
	return b.eventually(ctx, 2*time.Minute, "letting go of Pods on hollow nodes", func() (bool, error) {
		list := s.list()
		if err := b.api.List(ctx, list, client.InNamespace(b.namespace)); err != nil {
			return false, err
		}
		var all []client.Object
		_ = eachItem(list, func(o client.Object) error { all = append(all, o); return nil })
		return len(all) == 0, inParallel(all, 16, func(o client.Object) error {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
			return client.IgnoreNotFound(b.api.Patch(ctx, o, patch))
		})
	})
}
