package scheduling

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// mostPullSecrets is how many the status of a MiniPod can hold.
	mostPullSecrets = 64
	// longestName is that of an object.
	longestName = 253
)

// ByObject is what this package needs the manager's cache to hold of what others own: of each ServiceAccount which one it is, and its pull secrets.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&corev1.ServiceAccount{}: {Transform: onlyPullSecrets}}
}

func onlyPullSecrets(o any) (any, error) {
	account, ok := o.(*corev1.ServiceAccount)
	if !ok {
		return o, nil
	}
	return &corev1.ServiceAccount{
		ObjectMeta:       metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name, UID: account.UID, ResourceVersion: account.ResourceVersion},
		ImagePullSecrets: account.ImagePullSecrets,
	}, nil
}

// accountsPullSecrets are those of the ServiceAccount of a MiniPod that names none itself. A MiniPod may be seen before the account that was made with
// it, since they are watched separately; so the API server is asked before it is taken to have none.
func (s *Scheduler) accountsPullSecrets(ctx context.Context, pod *miniv1.MiniPod) ([]miniv1.LocalObjectReference, error) {
	if len(pod.Spec.ImagePullSecrets) > 0 {
		return nil, nil
	}
	account, key := &corev1.ServiceAccount{}, client.ObjectKey{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccount()}
	err := s.client.Get(ctx, key, account)
	if apierrors.IsNotFound(err) {
		err = s.live.Get(ctx, key, account)
	}
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	var out []miniv1.LocalObjectReference
	for _, secret := range account.ImagePullSecrets {
		if secret.Name == "" || len(secret.Name) > longestName {
			continue // there is no such Secret
		}
		if len(out) == mostPullSecrets {
			ctrl.LoggerFrom(ctx).Info("a ServiceAccount has more pull secrets than a MiniPod can have; the first are used", "serviceaccount", key, "used", mostPullSecrets)
			break
		}
		out = append(out, miniv1.LocalObjectReference{Name: secret.Name})
	}
	return out, nil
}
