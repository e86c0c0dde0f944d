package quota

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/quota"
)

// maxName is the longest name of an object.
const maxName = 253

// errNotOurs says that somebody else's ResourceQuota has the name that ours should have.
var errNotOurs = errors.New("is not owned by this MiniQuota; delete it or rename one of them")

// nativeName is the name of the ResourceQuota of a MiniQuota: "miniquota-<name>", with a hash where that is too long.
func nativeName(name string) string {
	full := "miniquota-" + name
	if len(full) <= maxName {
		return full
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(full[:maxName-9], ".-") + "-" + hex.EncodeToString(sum[:4])
}

// enforceCounts creates, changes or deletes the native ResourceQuota so that it has the count keys of the MiniQuota, and returns
// what that knows to be used. The API server counts every MiniPod; for those that do not count it gets a higher bound.
func (r *Reconciler) enforceCounts(ctx context.Context, mq *miniv1.MiniQuota, uncharged int64) (corev1.ResourceList, error) {
	hard := quota.NativeHard(mq.Spec.Hard, uncharged)
	native := &corev1.ResourceQuota{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: mq.Namespace, Name: nativeName(mq.Name)}, native)
	switch {
	case apierrors.IsNotFound(err) && len(hard) == 0:
		return nil, nil
	case apierrors.IsNotFound(err):
		return r.createNative(ctx, mq, hard)
	case err != nil:
		return nil, err
	case !metav1.IsControlledBy(native, mq) && len(hard) == 0:
		return nil, nil
	case !metav1.IsControlledBy(native, mq):
		return nil, fmt.Errorf("ResourceQuota %s %w", native.Name, errNotOurs)
	case len(hard) == 0:
		return nil, client.IgnoreNotFound(r.client.Delete(ctx, native, client.Preconditions{UID: &native.UID}))
	case apiequality.Semantic.DeepEqual(native.Spec.Hard, hard):
		return r.firstCount(ctx, native)
	}
	before := native.DeepCopy()
	native.Spec.Hard = hard
	return before.Status.Used, r.client.Patch(ctx, native, client.MergeFrom(before))
}

// createNative also counts at once: between the two the API server refuses what is counted.
func (r *Reconciler) createNative(ctx context.Context, mq *miniv1.MiniQuota, hard corev1.ResourceList) (corev1.ResourceList, error) {
	owner := metav1.NewControllerRef(mq, miniv1.GroupVersion.WithKind("MiniQuota"))
	native := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: mq.Namespace, Name: nativeName(mq.Name),
			Labels:          map[string]string{miniv1.QuotaNameLabel: labelValue(mq.Name)},
			OwnerReferences: []metav1.OwnerReference{*owner},
		},
		Spec: corev1.ResourceQuotaSpec{Hard: hard},
	}
	if err := r.client.Create(ctx, native); err != nil {
		return nil, err
	}
	return r.firstCount(ctx, native)
}

// labelValue is the name as a label can hold it.
func labelValue(name string) string {
	const maxLabel = 63
	if len(name) <= maxLabel {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:maxLabel-9], ".-") + "-" + hex.EncodeToString(sum[:4])
}
