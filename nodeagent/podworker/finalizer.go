package podworker

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// removeFinalizer lets the MiniPod go. The patch names the finalizer's place and fails if it is no longer there, in which
// case the place is looked up again.
func (w *worker) removeFinalizer(ctx context.Context, desired *miniv1.MiniPod) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	pod := desired.DeepCopy()
	err := w.pool.Client.Patch(ctx, pod, finalizerPatch(pod))
	if apierrors.IsNotFound(err) {
		w.forget()
		return nil
	}
	if err != nil {
		return w.lookAgain(ctx, desired, fmt.Errorf("finalizer: %w", err))
	}
	w.set(pod)
	return nil
}

// lookAgain reads the MiniPod after a patch of it failed. If it changed, the plan starts from that.
func (w *worker) lookAgain(ctx context.Context, desired *miniv1.MiniPod, cause error) error {
	pod := &miniv1.MiniPod{}
	err := w.pool.Client.Get(ctx, client.ObjectKeyFromObject(desired), pod)
	if apierrors.IsNotFound(err) || err == nil && pod.UID != desired.UID {
		w.forget()
		return nil
	}
	if err != nil || slices.Equal(pod.Finalizers, desired.Finalizers) {
		return cause
	}
	w.set(pod)
	return nil
}

// finalizerPatch takes the finalizer from its place, if it is there.
func finalizerPatch(pod *miniv1.MiniPod) client.Patch {
	at := slices.Index(pod.Finalizers, miniv1.AgentFinalizer)
	return client.RawPatch(types.JSONPatchType, fmt.Appendf(nil,
		`[{"op":"test","path":"/metadata/finalizers/%d","value":%q},{"op":"remove","path":"/metadata/finalizers/%d"}]`,
		at, miniv1.AgentFinalizer, at))
}
