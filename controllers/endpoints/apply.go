package endpoints

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/endpoints"
)

// apply writes a plan: what is new first, so that a service whose ports change is never without endpoints.
func (r *reconciler) apply(ctx context.Context, service *miniv1.MiniService, plan endpoints.Plan) (ctrl.Result, error) {
	name := client.ObjectKeyFromObject(service)
	if len(plan.Create)+len(plan.Update)+len(plan.Delete) > 0 {
		r.pace.note(name, r.now())
	}
	for _, slice := range plan.Create {
		if err := r.create(ctx, service, slice); err != nil {
			return outcome(err)
		}
	}
	for _, slice := range plan.Update {
		if err := r.client.Update(ctx, slice); err != nil {
			r.written.drop(slice)
			return outcome(err)
		}
		r.written.note(name, slice, false)
	}
	for _, slice := range plan.Delete {
		err := r.client.Delete(ctx, slice, client.Preconditions{UID: &slice.UID})
		if client.IgnoreNotFound(err) != nil {
			return outcome(err)
		}
		r.written.note(name, slice, true)
	}
	return ctrl.Result{}, nil
}

// create writes a new slice. One that exists although the cache does not show it is remembered, and seen next time.
func (r *reconciler) create(ctx context.Context, service *miniv1.MiniService, slice *discoveryv1.EndpointSlice) error {
	err := r.client.Create(ctx, slice)
	if apierrors.IsAlreadyExists(err) {
		var found discoveryv1.EndpointSlice
		if getErr := r.reader.Get(ctx, client.ObjectKeyFromObject(slice), &found); getErr != nil {
			return getErr
		}
		if !metav1.IsControlledBy(&found, service) {
			return fmt.Errorf("the name of EndpointSlice %s/%s is taken: delete it, or rename the service", found.Namespace, found.Name)
		}
		slice = &found
	} else if err != nil {
		return err
	}
	r.written.note(client.ObjectKeyFromObject(service), slice, false)
	return err
}

// outcome turns the error of a write into what to do: a view that was too old is looked at again soon, and in a namespace
// that is being deleted nothing has to be done.
func outcome(err error) (ctrl.Result, error) {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return ctrl.Result{RequeueAfter: paceInterval}, nil
	default:
		return ctrl.Result{}, err
	}
}
