package nodeagent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/nodeagent/podworker"
)

// followNamespaces tells the workers what the namespaces allow. It does not wait for the first news: until they come, and when the
// agent may not read namespaces at all, nothing new is started, and what is there is taken care of all the same.
func (a *agent) followNamespaces(ctx context.Context, into *podsecurity.Namespaces, pool *podworker.Pool) error {
	// Names and labels are all that is kept of a namespace.
	kind := &metav1.PartialObjectMetadata{}
	kind.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	informer, err := informerOf(ctx, a.cache, kind, a.log)
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(handlerOf(
		func(o client.Object) {
			if into.Set(o.GetName(), o.GetLabels()) {
				pool.NamespaceChanged(o.GetName())
			}
		},
		func(o client.Object) { into.Delete(o.GetName()) },
	))
	return err
}
