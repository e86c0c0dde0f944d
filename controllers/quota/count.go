package quota

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/quota"
)

// firstCount counts the objects of our own kinds for a native ResourceQuota that does not have their number, and returns what
// is used.
//
// Kubernetes' own quota controller learns of new kinds only now and then, minutes after they were installed, and until it has
// counted, the API server refuses every creation. From then on the API server charges creations itself, and that controller
// corrects, as always.
func (r *Reconciler) firstCount(ctx context.Context, native *corev1.ResourceQuota) (corev1.ResourceList, error) {
	missing := quota.Uncounted(native)
	if len(missing) == 0 {
		return native.Status.Used, nil
	}
	counted := native.DeepCopy()
	if counted.Status.Hard == nil {
		counted.Status.Hard = corev1.ResourceList{}
	}
	if counted.Status.Used == nil {
		counted.Status.Used = corev1.ResourceList{}
	}
	for key, name := range missing {
		kind, err := r.client.RESTMapper().KindFor(miniv1.GroupVersion.WithResource(name))
		if meta.IsNoMatchError(err) {
			continue // not installed: nothing can be created either
		}
		if err != nil {
			return nil, err
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		// Past the cache: what it has not seen yet would be given out twice.
		if err := r.reader.List(ctx, list, client.InNamespace(native.Namespace)); err != nil {
			return nil, fmt.Errorf("counting %s: %w", name, err)
		}
		counted.Status.Hard[key] = native.Spec.Hard[key]
		counted.Status.Used[key] = *resource.NewQuantity(int64(len(list.Items)), resource.DecimalSI)
	}
	err := r.client.Status().Update(ctx, counted)
	if apierrors.IsConflict(err) { // somebody else has counted, or charged, meanwhile
		var now corev1.ResourceQuota
		if err := r.reader.Get(ctx, client.ObjectKeyFromObject(native), &now); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return r.firstCount(ctx, &now)
	}
	return counted.Status.Used, err
}
