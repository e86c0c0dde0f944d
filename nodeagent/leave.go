package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/internal/daemonset"
)

// ErrLeave is how Run ends when the agent was told to end after its DaemonSet was deleted: miniplane leaves this machine,
// and what it made there should go too.
var ErrLeave = errors.New("the DaemonSet of this agent was deleted")

// askTimeout bounds each question about the DaemonSet, asked while the agent ends.
const askTimeout = 2 * time.Second

// owner is the DaemonSet that the agent belongs to. An agent is told to end for many reasons, upgrades first of all, and
// containers have to survive each of them but two: that miniplane is uninstalled, and that it leaves this node. Then nobody comes after
// this agent.
//
// The rights to ask may be deleted together with the DaemonSet. A watch that was opened before goes on, so that is what
// tells; asking is only for what the watch has not delivered yet.
//
// Nor is the deletion of one the end where another of the same agents wants this node, as when the DaemonSet gets another name, or those of two
// budgets become one: its agent takes up what runs.
type owner struct {
	key     client.ObjectKey
	seen    atomic.Bool // it existed, in this agent's life: a wrong name is not a deletion
	gone    atomic.Bool
	account atomic.Pointer[string] // by which others of the same agents are known
}

// ownerOf reads NAMESPACE/NAME; nil for none.
func ownerOf(daemonSet string) *owner {
	namespace, name, found := strings.Cut(daemonSet, "/")
	if !found {
		return nil
	}
	return &owner{key: client.ObjectKey{Namespace: namespace, Name: name}}
}

// byObject is what the agent's cache has to hold of it.
func (o *owner) byObject() cache.ByObject {
	return cache.ByObject{
		Namespaces: map[string]cache.Config{o.key.Namespace: {}},
		Field:      fields.OneTermEqualSelector("metadata.name", o.key.Name),
	}
}

// followOwner notes whether the DaemonSet exists.
func (a *agent) followOwner(ctx context.Context) error {
	informer, err := informerOf(ctx, a.cache, &appsv1.DaemonSet{}, a.log)
	if err != nil {
		return err // told to end
	}
	_, err = informer.AddEventHandler(handlerOf(
		func(set client.Object) {
			a.owner.account.Store(&set.(*appsv1.DaemonSet).Spec.Template.Spec.ServiceAccountName)
			if !a.owner.seen.Swap(true) {
				a.log.Info("Following the DaemonSet", "daemonset", a.owner.key)
			}
			a.owner.gone.Store(set.GetDeletionTimestamp() != nil)
		},
		func(client.Object) { a.owner.gone.Store(true) },
	))
	if err != nil {
		return fmt.Errorf("the DaemonSet of this agent: %w", err)
	}
	<-ctx.Done()
	return nil
}

// leaves tells, while the agent ends, whether nobody comes after it.
func (a *agent) leaves() bool {
	if a.owner == nil || !a.owner.seen.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if !a.owner.gone.Load() && !apierrors.IsNotFound(a.client.Get(ctx, a.owner.key, &appsv1.DaemonSet{})) {
		return false
	}
	switch next, err := a.successor(ctx); {
	case err != nil:
		a.log.Error(err, "The DaemonSet of this agent was deleted, and whether another takes over is not known: containers run on; nodeagent --cleanup ends them")
		return false
	case next != "":
		a.log.Info("The DaemonSet of this agent was deleted, and another takes over: containers run on", "daemonset", next)
		return false
	}
	return true
}

// successor is the DaemonSet whose agent comes after this one, when this one's was deleted; "" where there is none. There is none either
// where the right to ask is gone, or the Node: then miniplane is uninstalled, or the machine is no node any more.
func (a *agent) successor(ctx context.Context) (string, error) {
	var sets appsv1.DaemonSetList
	var node corev1.Node
	err := a.client.List(ctx, &sets, client.InNamespace(a.owner.key.Namespace))
	if err == nil {
		err = a.client.Get(ctx, client.ObjectKey{Name: a.opts.NodeName}, &node)
	}
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", err
	}
	return daemonset.Successor(sets.Items, *a.owner.account.Load(), &node), nil
}
