package job

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// orphanEvents wakes for MiniPods that hold the finalizer and may have no MiniJob any more: those that are there when the manager starts,
// those without an owner, and those that are being deleted, as all are whose owner is gone.
func orphanEvents() handler.EventHandler {
	add := func(q queue, pod client.Object) {
		if slices.Contains(pod.GetFinalizers(), miniv1.JobFinalizer) {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(pod)})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if e.IsInInitialList || loose(e.Object) {
				add(q, e.Object)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if loose(e.ObjectNew) {
				add(q, e.ObjectNew)
			}
		},
	}
}

func loose(pod client.Object) bool {
	return pod.GetDeletionTimestamp() != nil || metav1.GetControllerOfNoCopy(pod) == nil
}

// jobGoes wakes for the MiniPods of a MiniJob that is gone.
func (r *Reconciler) jobGoes() handler.EventHandler {
	return handler.Funcs{DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
		pods, err := r.pods.Owned(ctx, e.Object.GetNamespace(), e.Object.GetUID())
		if err != nil {
			return // the cache answers, or the manager is going down
		}
		for _, pod := range pods {
			if slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
				q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(pod)})
			}
		}
	}}
}

// Orphan takes the finalizer off a MiniPod that no MiniJob will count: its owner is gone, or it has none.
func (r *Reconciler) Orphan(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pod := &miniv1.MiniPod{}
	if err := r.client.Get(ctx, req.NamespacedName, pod); err != nil || !slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	owned, err := r.hasJob(ctx, pod)
	if err != nil || owned {
		return ctrl.Result{}, err
	}
	err = r.client.Patch(ctx, shell(pod), untracked(pod, true))
	if apierrors.IsInvalid(err) {
		return ctrl.Result{RequeueAfter: afterConflict}, nil // it has changed
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// hasJob tells whether the MiniPod's owner is there, or could be: the API server is asked before it is said to be gone.
func (r *Reconciler) hasJob(ctx context.Context, pod *miniv1.MiniPod) (bool, error) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != kind.Kind {
		return false, nil
	}
	key := client.ObjectKey{Namespace: pod.Namespace, Name: owner.Name}
	for _, from := range []client.Reader{r.client, r.live} {
		job := &miniv1.MiniJob{}
		err := from.Get(ctx, key, job)
		if err == nil && job.UID == owner.UID {
			return true, nil
		}
		if client.IgnoreNotFound(err) != nil {
			return false, err
		}
	}
	return false, nil
}
