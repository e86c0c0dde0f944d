package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// churners is how many MiniPods come and go at most.
const churners = 20

// churn has MiniPods come and go without a pause.
func churn(ctx context.Context, w *world) (undo, error) {
	set := deployment(w.wild, "churn", 0, imageWeb)
	if err := w.api.Create(ctx, set); err != nil {
		return nil, err
	}
	scaling, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for rest(scaling, 500*time.Millisecond, true) == nil {
			_ = w.scale(scaling, set, rand.IntN(churners+1)) // the API server may be away
		}
	}()
	return func(ctx context.Context) error {
		stop()
		<-done
		return w.remove(ctx, set)
	}, nil
}

func (w *world) scale(ctx context.Context, set *miniv1.MiniDeployment, replicas int) error {
	return w.patch(ctx, set, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas))
}

func (w *world) patch(ctx context.Context, object client.Object, merge string) error {
	return w.api.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(merge)))
}

// toJSON is for what can be written as such.
func toJSON(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// remove deletes something in the wild namespace, and waits until all MiniPods there are gone.
func (w *world) remove(ctx context.Context, object client.Object) error {
	err := eventually(ctx, patience, "deleting "+object.GetName(), func() error {
		return client.IgnoreNotFound(w.api.Delete(ctx, object, client.PropagationPolicy("Background")))
	})
	if err != nil {
		return err
	}
	return w.waitPods(ctx, w.wild, 0)
}

// rolledOut waits until all MiniPods of a MiniDeployment have its template's image, and are ready.
func (w *world) rolledOut(ctx context.Context, set *miniv1.MiniDeployment) error {
	want := set.Spec.Template.Spec.Containers[0].Image
	err := eventually(ctx, patience, "the rollout", func() error {
		pods, err := w.minipods(ctx, set.Namespace)
		for _, pod := range pods {
			if image := pod.Spec.Containers[0].Image; image != want {
				return fmt.Errorf("%s has %s", pod.Name, image)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.waitPods(ctx, set.Namespace, int(*set.Spec.Replicas))
}

// probe has one MiniPod more start and end on each node: what was harmed works again.
func (w *world) probe(ctx context.Context) error {
	set := deployment(w.wild, "probe", int32(len(w.nodes)), imageWeb)
	err := eventually(ctx, patience, "creating a probe", func() error { return w.api.Create(ctx, set) })
	if err != nil {
		return err
	}
	if err := w.waitPods(ctx, w.wild, len(w.nodes)); err != nil {
		return fmt.Errorf("a new MiniPod: %w", err)
	}
	return w.remove(ctx, set)
}
