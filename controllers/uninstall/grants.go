package uninstall

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

// revokeGrants deletes what nodes may read in the namespaces of others. No MiniPod is left, so the manager makes none anew; it would
// delete these too, but later. What only has the label is somebody else's, and the policy lets nobody here touch it.
func revokeGrants(ctx context.Context, c client.Client) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		left := 0
		for _, list := range []client.ObjectList{&rbacv1.RoleBindingList{}, &rbacv1.RoleList{}} {
			n, err := revokeAll(ctx, c, list)
			if last = err; err != nil {
				return false, ignoreTransient(err)
			}
			left += n
		}
		return left == 0, nil
	})
	if err != nil {
		return fmt.Errorf("what nodes may read is not revoked everywhere (kubectl get roles,rolebindings -A -l %s): %w; uninstall again",
			miniv1.GrantLabel, errors.Join(err, last))
	}
	return nil
}

// revokeAll deletes those of one kind, and tells how many there were.
func revokeAll(ctx context.Context, c client.Client, list client.ObjectList) (n int, err error) {
	if err := c.List(ctx, list, client.MatchingLabels{miniv1.GrantLabel: "true"}); err != nil {
		return 0, err
	}
	err = meta.EachListItem(list, func(item runtime.Object) error {
		o := item.(client.Object)
		if _, ours := grants.NodeOf(o.GetName()); !ours {
			return nil
		}
		n++
		return client.IgnoreNotFound(c.Delete(ctx, o))
	})
	return n, err
}
