package endpoints

import (
	"context"
	"maps"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

const (
	// podLabelIndex finds MiniPods by one of their labels, "name=value".
	podLabelIndex = "metadata.labels"
	// serviceAnchorIndex finds MiniServices by the anchor of their selector, "name=value".
	serviceAnchorIndex = "spec.selector"
	// sliceServiceIndex finds EndpointSlices by the name of their MiniService.
	sliceServiceIndex = "service"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func setupIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &miniv1.MiniPod{}, podLabelIndex, func(o client.Object) []string {
		return pairs(o.GetLabels())
	}); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &miniv1.MiniService{}, serviceAnchorIndex, func(o client.Object) []string {
		if selector := o.(*miniv1.MiniService).Spec.Selector; len(selector) > 0 {
			return []string{anchor(selector)}
		}
		return nil
	}); err != nil {
		return err
	}
	return indexer.IndexField(ctx, &discoveryv1.EndpointSlice{}, sliceServiceIndex, func(o client.Object) []string {
		return []string{serviceOf(o)}
	})
}

// anchor is the one label of a selector under which it is found: whoever matches the selector has it. Any would be correct;
// the first by name is most often the one that names the application.
func anchor(selector map[string]string) string { return slices.Min(pairs(selector)) }

func pairs(labels map[string]string) []string {
	out := make([]string, 0, len(labels))
	for name, value := range labels {
		out = append(out, name+"="+value)
	}
	return out
}

// serviceOf is the name of the MiniService a slice belongs to, by its owner, or else by its label.
func serviceOf(slice client.Object) string {
	if owner := metav1.GetControllerOf(slice); owner != nil && owner.Kind == "MiniService" {
		return owner.Name
	}
	return slice.GetLabels()[miniv1.ServiceNameLabel]
}

// onPod queues the services that select a MiniPod, when something changed that an endpoint tells.
func (r *reconciler) onPod() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { r.enqueue(ctx, e.Object, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			relabelled := !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
			if !relabelled && fingerprintOf(e.ObjectOld) == fingerprintOf(e.ObjectNew) {
				return
			}
			if relabelled {
				r.enqueue(ctx, e.ObjectOld, q)
			}
			r.enqueue(ctx, e.ObjectNew, q)
		},
	}
}

// fingerprint is all that an endpoint tells of a MiniPod.
type fingerprint struct {
	uid                       types.UID
	ip, node                  string
	ready, deleting, finished bool
}

func fingerprintOf(o client.Object) fingerprint {
	pod := o.(*miniv1.MiniPod)
	return fingerprint{uid: pod.UID, ip: pod.Status.PodIP, node: pod.Status.NodeName,
		ready: podstate.IsReady(pod), deleting: podstate.IsDeleting(pod), finished: podstate.IsFinished(pod)}
}

func (r *reconciler) enqueue(ctx context.Context, pod client.Object, q queue) {
	for _, pair := range pairs(pod.GetLabels()) {
		var services miniv1.MiniServiceList
		err := r.client.List(ctx, &services, client.InNamespace(pod.GetNamespace()), client.UnsafeDisableDeepCopy,
			client.MatchingFields{serviceAnchorIndex: pair})
		if err != nil {
			log.FromContext(ctx).Error(err, "finding the services of a MiniPod", "namespace", pod.GetNamespace(), "name", pod.GetName())
			return
		}
		for i := range services.Items {
			service := &services.Items[i]
			if labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.GetLabels())) {
				name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
				r.lag.begin(name, r.now())
				q.Add(reconcile.Request{NamespacedName: name})
			}
		}
	}
}

// onSlice queues the service of a slice that somebody changed.
func (r *reconciler) onSlice() handler.EventHandler {
	enqueue := func(slice client.Object, q queue) {
		if name := serviceOf(slice); name != "" {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: slice.GetNamespace(), Name: name}})
		}
	}
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if !r.written.has(e.ObjectNew) {
				enqueue(e.ObjectOld, q)
				enqueue(e.ObjectNew, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			r.written.drop(e.Object)
			enqueue(e.Object, q)
		},
	}
}
