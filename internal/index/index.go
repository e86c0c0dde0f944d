// Package index names the indexes of the manager's cache, and sets them up.
package index

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// PodNode finds the MiniPods bound to a node, by its name.
	PodNode = "status.nodeName"
	// Owner finds MiniPods and MiniReplicaSets by the UID of their controlling owner, and those without one by Nobody.
	Owner = "metadata.controller"
	// Nobody stands for the owner of what has none.
	Nobody = ""
)

// Setup adds the indexes to the cache, before it starts.
func Setup(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &miniv1.MiniPod{}, PodNode, func(o client.Object) []string {
		if name := o.(*miniv1.MiniPod).Status.NodeName; name != "" {
			return []string{name}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, kind := range []client.Object{&miniv1.MiniPod{}, &miniv1.MiniReplicaSet{}} {
		if err := indexer.IndexField(ctx, kind, Owner, ownerUID); err != nil {
			return err
		}
	}
	return nil
}

func ownerUID(o client.Object) []string {
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
		return []string{string(owner.UID)}
	}
	return []string{Nobody}
}
