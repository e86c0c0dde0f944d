// Package uninstall empties a cluster of miniplane's objects, so that what runs miniplane can be deleted after it.
//
// The order matters, and nobody else keeps it: a MiniPod goes only when an agent has let go of it, and an agent that was
// deleted together with everything else cannot. So objects go first, while the manager and the agents still work, and the
// guard that holds the rest (config/policy/uninstall.yaml) is lifted after them. Without the guard the manager makes no drain
// markers any more; those that are left go last. It can be repeated at any point.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Guard is the ValidatingAdmissionPolicyBinding that refuses to let go of what runs miniplane while its objects may need it.
const Guard = miniv1.UninstallGuard

const (
	// lookEvery is the time between two looks at what is left.
	lookEvery = 500 * time.Millisecond
	// sayEvery is the time between two reports while nothing changes.
	sayEvery = 10 * time.Second
	// quietFor is how long the guard must not have refused anything to be taken as lifted, on all API servers.
	quietFor = 3 * time.Second
)

// serviceAccount is what the Job of config/uninstall runs as; the guard holds it too.
const serviceAccount = "miniplane-uninstall"

// kinds that people and controllers make, owners first, so that nothing is made anew.
func kinds() []client.ObjectList {
	return []client.ObjectList{
		&miniv1.MiniDeploymentList{}, &miniv1.MiniDaemonSetList{}, &miniv1.MiniReplicaSetList{}, &miniv1.MiniJobList{}, &miniv1.MiniPodList{},
		&miniv1.MiniServiceList{},
		&miniv1.MiniQuotaList{},
	}
}

// Run deletes all objects of miniplane in all namespaces, waits until they are gone, and lifts the guard. When ctx ends
// before that, the error says what is left and what it waits for.
func Run(ctx context.Context, c client.Client, log logr.Logger) error {
	left, said, saidAt := "", "", time.Time{}
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		now, err := deleteAll(ctx, c)
		if err != nil {
			if said == "" {
				left = "what is left could not be read: " + err.Error()
			}
			return false, ignoreTransient(err)
		}
		left = now
		if left != said || time.Since(saidAt) > sayEvery {
			said, saidAt = left, time.Now()
			log.Info("Deleting", "left", left)
		}
		return left == "", nil
	})
	if ctx.Err() != nil {
		return fmt.Errorf("not everything is gone, and nothing was uninstalled: %s. A MiniPod goes when the agent of its node has "+
			"ended it; where a node is gone for good, delete it (kubectl delete node NAME), then uninstall again", left)
	}
	if err != nil {
		return err
	}
	if err := revokeGrants(ctx, c); err != nil {
		return err
	}
	// It goes with the rest, and another installation arms it again.
	guard := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: Guard}}
	audit := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"validationActions":["Audit"]}}`))
	if err := c.Patch(ctx, guard, audit); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("lifting the guard: %w", err)
	}
	if err := awaitLifted(ctx, c); err != nil {
		return fmt.Errorf("waiting until the guard is lifted: %w", err)
	}
	if err := releaseMarkers(ctx, c); err != nil {
		return err
	}
	log.Info("All objects are gone; what runs miniplane can be deleted now")
	return nil
}

// awaitLifted waits until the guard lets go. API servers go on refusing for a second or so after a policy's binding is gone,
// each by itself, and whoever deletes the rest right after this, as helm does, would run into that. It tries on the
// ServiceAccount that this runs as, without deleting it, until nothing refused for a while.
func awaitLifted(ctx context.Context, c client.Client) error {
	probe := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: serviceAccount}}
	refused := time.Now()
	return wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		err := client.IgnoreNotFound(c.Delete(ctx, probe.DeepCopy(), client.DryRunAll))
		if err != nil && strings.Contains(err.Error(), Guard) {
			refused = time.Now()
			return false, nil
		}
		return time.Since(refused) > quietFor, err
	})
}

// ignoreTransient gives nil for what the next look may not meet again.
func ignoreTransient(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return err
	}
	return nil
}

// deleteAll deletes what is not being deleted, and describes what is left: "" when nothing is.
func deleteAll(ctx context.Context, c client.Client) (string, error) {
	var left []string
	for _, list := range kinds() {
		if err := c.List(ctx, list); meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			continue // the kind is gone already
		} else if err != nil {
			return "", err
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return "", err
		}
		var errs []error
		for _, item := range items {
			object := item.(client.Object)
			if object.GetDeletionTimestamp() == nil {
				errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, object)))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return "", err
		}
		if len(items) > 0 {
			left = append(left, describe(list, len(items)))
		}
	}
	return strings.Join(left, ", "), nil
}

// describe tells how many there are; of MiniPods also where.
func describe(list client.ObjectList, n int) string {
	kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", list), "*v1alpha1."), "List")
	text := fmt.Sprintf("%d %ss", n, kind)
	pods, ok := list.(*miniv1.MiniPodList)
	if !ok {
		return text
	}
	on := map[string]int{}
	for i := range pods.Items {
		on[pods.Items[i].Status.NodeName]++
	}
	var nodes []string
	for _, name := range slices.Sorted(maps.Keys(on)) {
		where := "on " + name
		if name == "" {
			where = "on no node"
		}
		nodes = append(nodes, fmt.Sprintf("%d %s", on[name], where))
	}
	return text + " (" + strings.Join(nodes, ", ") + ")"
}
