// Package adopt writes owner references: it takes objects for an owner and gives them up, as package claim decided.
//
// Both are written with the resourceVersion that was seen, so that two owners that reach for one object do not both get
// it. What makes it hard: a cache may not yet know that the owner is being deleted, so an owner looks past it at itself
// before it adopts anything.
package adopt

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"miniplane.dev/miniplane/internal/claim"
)

// Owner writes the references of one owner.
type Owner struct {
	// Client writes.
	Client client.Client
	// Live reads from the API server, past every cache.
	Live client.Reader
	// Object is the owner as the cache shows it, and Kind what it is.
	Object client.Object
	Kind   schema.GroupVersionKind
	// Finalizer, if any, is put on what is adopted, and taken off what is given up.
	Finalizer string
}

// Settle adopts and releases what the claims say, and returns the objects that belong to the owner then. After an error,
// a conflict among others, it has done only a part; observe again.
func Settle[T client.Object](ctx context.Context, owner Owner, claims claim.Claims[T]) ([]T, error) {
	mine := slices.Clone(claims.Mine)
	for _, object := range claims.Release {
		if err := release(ctx, owner, object); err != nil {
			return mine, err
		}
	}
	if len(claims.Adopt) == 0 {
		return mine, nil
	}
	if err := owner.check(ctx); err != nil {
		return mine, err
	}
	for _, object := range claims.Adopt {
		adopted := object.DeepCopyObject().(T)
		adopted.SetOwnerReferences(append(adopted.GetOwnerReferences(), *metav1.NewControllerRef(owner.Object, owner.Kind)))
		if owner.Finalizer != "" {
			controllerutil.AddFinalizer(adopted, owner.Finalizer)
		}
		if err := owner.patch(ctx, object, adopted); err != nil {
			return mine, err
		}
		mine = append(mine, adopted)
	}
	return mine, nil
}

// check returns an error when the owner, read live, is gone, replaced or being deleted.
func (o Owner) check(ctx context.Context) error {
	fresh := o.Object.DeepCopyObject().(client.Object)
	if err := o.Live.Get(ctx, client.ObjectKeyFromObject(o.Object), fresh); err != nil {
		return fmt.Errorf("looking whether %s is still there before it adopts anything: %w", o.Object.GetName(), err)
	}
	if fresh.GetUID() != o.Object.GetUID() || fresh.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s is being deleted or was replaced, and adopts nothing", o.Object.GetName())
	}
	return nil
}

// release removes the owner's reference. It is no error when the object is gone.
func release[T client.Object](ctx context.Context, owner Owner, object T) error {
	released := object.DeepCopyObject().(T)
	released.SetOwnerReferences(slices.DeleteFunc(released.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return ref.UID == owner.Object.GetUID()
	}))
	controllerutil.RemoveFinalizer(released, owner.Finalizer)
	return client.IgnoreNotFound(owner.patch(ctx, object, released))
}

// patch sends the difference on condition that the object is still as it was seen.
func (o Owner) patch(ctx context.Context, before, after client.Object) error {
	err := o.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("changing the owner of %s: %w", before.GetName(), err)
	}
	return err
}
